import { lookAtPlace, lookAtSystem, placeProgram } from '../bootstrap/index.ts';
import type { JoinRuntime, Payload } from './payload.ts';
import { quoted } from './quoted.ts';

/** What an invitation tells a host of us, beside its token; see `agent join`. */
export interface Introduction {
  readonly machine: string;
  /** Base on the host, as the user gave it; empty: the host's own choice. */
  readonly base: string;
  readonly controller_id: string;
  readonly controller_key: string;
  readonly url: string;
  readonly certificates: readonly string[];
  readonly spki_sha256: readonly string[];
  readonly expires_at: string;
}

/** How a script comes by what it needs: shell functions `get NAME FILE BYTES`, and `take_token` into $codex_remote_token. */
export interface Source {
  readonly functions: string;
  /** Where the host asks when nothing comes, for people. */
  readonly from: string;
}

/**
 * A script for a bare host: puts runtime and agent into the store there, as `machine up` does, then `agent join`. Nothing
 * that came is run, or unpacked, before its SHA-256 is the one written here. The token is in a shell variable that is not
 * exported, and leaves it by \`echo\`, which every shell has built in: it is in no argv and no environment.
 */
export function joinScript(introduction: Introduction, payload: Payload, source: Source): string {
  const { base, ...said } = introduction;
  const { agent } = payload;
  const files = agent.files
    .map(({ name, bytes, sha256 }) => `get_file ${name} "$part/agent/${name}" ${bytes} ${sha256}\n`)
    .join('');
  const hashes = agent.files.map(({ name, sha256 }) => `${name} ${sha256}`).join(' ');
  return `#!/bin/sh
# Makes this host the machine ${introduction.machine} of a codex-remote controller. Good until ${introduction.expires_at}.
set +ax
umask 077
LC_ALL=C; export LC_ALL
PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
unset codex_remote_token
fail() { printf 'codex-remote: %s (%s)\\n  %s\\n' "$2" "$1" "$3" >&2; exit 1; }
say() { [ ! -t 2 ] || printf 'codex-remote: %s\\n' "$1" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }
sum() {
  if has sha256sum; then sha256sum
  elif has shasum; then shasum -a 256
  elif has openssl; then openssl dgst -sha256 -r
  else busybox sha256sum
  fi | { read -r value rest; printf %s "$value"; }
}
whole() { [ -f "$1" ] && [ "$(sum <"$1")" = "$2" ]; }
${source.functions}
# get_file NAME FILE BYTES SHA256
get_file() {
  get "$1" "$2" "$3" ||
    fail connection_reset "$1 did not come from "${quoted(source.from)} 'look at the way there (HTTPS_PROXY), and at the disk here; then run it again'
  whole "$2" "$4" || fail bootstrap_failed "$1 is not what the invitation says: nothing of it was run" 'make a new invitation'
}
place() {
  "$node_now" -e ${quoted(placeProgram)} -- "$@" >/dev/null || fail bootstrap_failed "what came could not be put into $base/store" 'look at the disk'
}
# runtime ENTRY RAW_BYTES RAW_SHA256 PACKED_NAME PACKED_BYTES PACKED_SHA256
runtime() {
  node=$base/store/$1/node
  node_now=$node
  whole "$node" "$3" && return
  [ -z "$free" ] || [ "$free" -gt "$((($2 + $5) / 1024 + ${reserveKb}))" ] ||
    fail disk_low "$base has $free KiB free" 'free some space, or choose another place with CODEX_REMOTE_AGENT_HOME'
  say "fetching the runtime ($(($5 / 1000000)) MB)"
  mkdir "$part/node"
  if has gzip; then
    get_file "$4" "$part/packed" "$5" "$6"
    gzip -dc <"$part/packed" >"$part/node/node" || fail disk_low "$base took not all of the runtime" 'free some space there'
    rm -f "$part/packed"
    whole "$part/node/node" "$3" || fail bootstrap_failed 'the runtime is not whole' 'run it again'
  else
    get_raw "\${4%.gz}" "$part/node/node" "$2" "$3"
  fi
  chmod 700 "$part/node/node"
  node_now=$part/node/node
  "$node_now" --version >/dev/null ||
    fail runtime_unsupported "our Node does not run here" "$base may be mounted noexec (CODEX_REMOTE_AGENT_HOME chooses another place), or the C library is too old"
  place "$part/node" "$base/store/$1" node "$3"
  node_now=$node
}
main() {
  take_token
${lookAtSystem}
  [ "$bits" != 32 ] || fail runtime_unsupported 'the user space has 32 bits' 'our Node needs 64'
  [ "$os $libc" != 'Linux musl' ] || fail runtime_unsupported 'the C library is musl' 'our Node needs glibc'
  base=${quoted(base)}
${lookAtPlace}
  [ "$cleaned" != logout ] || fail state_unusable "$base is removed at logout" 'choose another place with CODEX_REMOTE_AGENT_HOME'
  mkdir -p "$base/store" && part=$(mktemp -d "$base/store/.part-XXXXXX") ||
    fail home_not_writable "$base cannot be written" 'choose another place with CODEX_REMOTE_AGENT_HOME'
  trap 'rm -rf "$part"' EXIT
  trap 'exit 1' HUP INT TERM
  case $os/$arch in
${payload.runtimes.map(runtimeCase).join('\n')}
    *) fail runtime_unsupported "there is no Node of ours for $os/$arch" 'Linux on x64 and arm64 is supported' ;;
  esac
  agent=$base/store/${agent.name}
  if ! whole "$agent/agent.mjs" ${agent.files.find(({ name }) => name === 'agent.mjs')?.sha256 ?? ''}; then
    mkdir "$part/agent"
    ${files.replaceAll('\n', '\n    ')}place "$part/agent" "$agent" ${hashes}
  fi
  say 'joining'
  { echo "$codex_remote_token"; printf '%s\\n' "$base"; cat <<'end of the invitation'; } | "$node" "$agent/agent.mjs" join
${JSON.stringify(said)}
end of the invitation
}
main; exit
`;
}

/** Beside what is downloaded: the agent's own records. */
const reserveKb = 8 * 1024;

function runtimeCase({ uname, entry, raw, packed }: JoinRuntime): string {
  const words = [entry, raw.bytes, raw.sha256, packed.name, packed.bytes, packed.sha256];
  return `    ${uname.join('|')}) runtime ${words.join(' ')} ;;`;
}
