import { createHash } from 'node:crypto';
import { RemoteError } from '@codex-remote/protocol/wire';

/** What the percent tokens of ssh_config(5), section TOKENS, stand for. */
export interface TokenValues {
  /** Home of the local user by passwd(5): OpenSSH does not look at `$HOME`. */
  readonly home: string;
  readonly localUser: string;
  readonly localHost: string;
  readonly uid: number;
  /** The host as it was asked for. */
  readonly original: string;
  readonly host: string;
  readonly hostKeyAlias: string;
  readonly port: number;
  readonly user: string;
  readonly jump: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** A path option of ssh_config with `~`, `%x` and `${NAME}` replaced. Throws `ssh_config_invalid` for what is undefined. */
export function expandPath(text: string, values: TokenValues): string {
  const home = text === '~' || text.startsWith('~/') ? values.home + text.slice(1) : text;
  return home.replace(/%(.)|\$\{([^}]*)\}/g, (whole, token: string | undefined, name: string | undefined) => {
    const value = token === undefined ? values.env[name ?? ''] : tokenValue(token, values);
    if (value === undefined) {
      throw new RemoteError(
        'ssh_config_invalid',
        `${whole} in ${JSON.stringify(text)} of the ssh configuration has no value`,
        {
          hint: 'see TOKENS and ENVIRONMENT VARIABLES in ssh_config(5)',
        },
      );
    }
    return value;
  });
}

function tokenValue(token: string, values: TokenValues): string | undefined {
  switch (token) {
    case '%':
      return '%';
    case 'C':
      // readconf.c: SHA-1 over %l %h %p %r %j.
      return createHash('sha1')
        .update(values.localHost + values.host + values.port + values.user + values.jump)
        .digest('hex');
    case 'd':
      return values.home;
    case 'h':
      return values.host;
    case 'i':
      return String(values.uid);
    case 'j':
      return values.jump;
    case 'k':
      return values.hostKeyAlias;
    case 'L':
      return values.localHost.split('.')[0] ?? values.localHost;
    case 'l':
      return values.localHost;
    case 'n':
      return values.original;
    case 'p':
      return String(values.port);
    case 'r':
      return values.user;
    case 'u':
      return values.localUser;
    default:
      return undefined;
  }
}
