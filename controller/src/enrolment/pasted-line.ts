import type { Source } from './join-script.ts';
import { quoted } from './quoted.ts';

/** Largest script that the pasted line takes. */
export const maxScriptBytes = 64 * 1024;

/** Where a host fetches from: our TLS port, whose certificate nobody there trusts. */
export interface DownloadPlace {
  /** `https://…/`, to which a name is appended. */
  readonly url: string;
  /** Base64 SHA-256 of the keys that may answer. */
  readonly spki_sha256: readonly string[];
}

/** curl checks the key; wget cannot, and need not: what comes is compared with a hash that did not come that way. */
function fetchCommand({ spki_sha256 }: DownloadPlace, from: string): string {
  const pins = spki_sha256.map((pin) => `sha256//${pin}`).join(';');
  const proxies = 'https_proxy="${https_proxy:-${HTTPS_PROXY:-}}" no_proxy="${no_proxy:-${NO_PROXY:-}}"';
  return `if command -v curl >/dev/null;then curl -fsSk --pinnedpubkey ${quoted(pins)} ${from};else ${proxies} wget -qO- --no-check-certificate ${from};fi`;
}

/** As a script gets it, once the line has brought the script. */
export function onlineSource(place: DownloadPlace): Source {
  return {
    from: new URL(place.url).host,
    functions: `
take_token() {
  IFS= read -r codex_remote_token || :
  [ -n "$codex_remote_token" ] || fail usage 'there is no token on stdin' 'paste the whole line'
}
get() {
  { ${fetchCommand(place, `${quoted(place.url)}"$1"`)}; } </dev/null | head -c "$(($3 + 1))" >"$2"
  [ "$(wc -c <"$2")" -eq "$3" ]
}
get_raw() { get_file "$@"; }
`,
  };
}

/**
 * The line to paste. Its first word is a space: shells that are told to keep such lines out of their history do. The token
 * goes into a pipe by \`echo\`, which every shell has built in; what is fetched is run only where its SHA-256 is the one in
 * the line.
 */
export function pastedLine(
  token: string,
  place: DownloadPlace,
  script: { name: string; sha256: string },
): string {
  const { host } = new URL(place.url);
  const fetched = `{ ${fetchCommand(place, quoted(`${place.url}${script.name}`))};}</dev/null|head -c ${maxScriptBytes} >s`;
  const sums = ['sha256sum', 'shasum -a 256', 'openssl dgst -sha256 -r', 'busybox sha256sum'].join('||');
  const wrong = quoted(
    `codex-remote: what came from ${host} is not what was invited to, or nothing came: nothing was run`,
  );
  return (
    ` echo ${quoted(token)}|(d=$(mktemp -d)&&cd "$d"&&trap 'rm -rf "$d"' EXIT&&umask 077&&${fetched}` +
    `;case $( (${sums})<s 2>/dev/null) in ${script.sha256}*)sh s;;*)echo ${wrong} >&2;exit 1;;esac)`
  );
}
