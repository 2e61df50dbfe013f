/**
 * What scripts of ours find out about a host, as POSIX sh, for the probe of `machine up` and for invitations, which run
 * without us. Each sets variables and says nothing.
 */

/** `os`, `arch`, `bits` of user space, `libc`: `glibc 2.36`, `musl`, or empty where that cannot be told. */
export const lookAtSystem = `
os=$(uname -s)
arch=$(uname -m)
bits=$(getconf LONG_BIT 2>/dev/null)
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null)
[ -n "$libc" ] || for f in /lib/ld-musl-*; do [ -e "$f" ] && libc=musl; done
`;

/**
 * `base` made absolute (empty before: the host's own choice); `cleaned`: `logout`, `age` or empty; `near`: the nearest
 * folder that there is; `free`: its KiB, empty where df cannot be read; `open`: a folder on the way in which every user of
 * the host can put something else in the place of what leads to `base`, as checkParents of the agent has it.
 */
export const lookAtPlace = `
[ -n "$base" ] || base=\${CODEX_REMOTE_AGENT_HOME:-}
[ -n "$base" ] || base=\${XDG_DATA_HOME:-$HOME/.local/share}/codex-remote-agent
case $base in
  "~") base=$HOME ;;
  "~/"*) base=$HOME/\${base#"~/"} ;;
  /*) ;;
  *) base=$HOME/$base ;;
esac
runtime=\${XDG_RUNTIME_DIR:-/run/user}; temporary=\${TMPDIR:-/tmp}; cleaned=
case $base/ in
  "\${runtime%/}/"*|/run/*|/var/run/*) cleaned=logout ;;
  "\${temporary%/}/"*|/tmp/*|/var/tmp/*|/dev/shm/*) cleaned=age ;;
esac
near=$base
while [ ! -d "$near" ] && [ "$near" != / ]; do near=$(dirname "$near"); done
open=; way=$base
while [ "$way" != / ]; do
  way=$(dirname "$way")
  [ -z "$(find "$way" -prune ! -perm -1 ! -perm -10 2>/dev/null)" ] || open=
  [ -z "$(find "$way" -prune -perm -2 ! -perm -1000 2>/dev/null)" ] || open=$way
done
free=; last=
for word in $(df -Pk "$near" 2>/dev/null | tail -n 1); do
  case $word in *%) [ -n "$free" ] || free=$last ;; esac
  last=$word
done
`;
