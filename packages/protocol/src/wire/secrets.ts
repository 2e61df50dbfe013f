/**
 * Which values of `--env` and `--env-file` are taken for secrets where we show what was asked for: by their name, or by what
 * they look like. All values would be too many: a command with `--env N=1` would lose its every 1.
 */
const secretName =
  /TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|COOKIE|APIKEY|AUTHORIZATION|(?:^|_)(?:KEYS?|AUTH|PASS|PAT|PIN|DSN|SALT|CERT|PRIVATE|SIGNATURE)(?:_|$)/i;
const minSecretCharacters = 6;
/** Letters and digits without a space or a slash: a key of some service, whatever its variable is called. */
const secretLook = /^(?=.*[A-Za-z])(?=.*\d)[^\s/]{16,}$/;

/** Longest first: one that holds another is masked whole. */
export function secretsOf(env: Readonly<Record<string, string>>): string[] {
  return Object.entries(env)
    .filter(([name, value]) =>
      secretName.test(name) ? value.length >= minSecretCharacters : secretLook.test(value),
    )
    .map(([, value]) => value)
    .sort((a, b) => b.length - a.length);
}

/** The text with `***` in place of each secret. Best effort: one that is split or encoded is not found. */
export function masked(text: string, secrets: readonly string[]): string {
  return secrets.reduce((shown, secret) => shown.replaceAll(secret, '***'), text);
}
