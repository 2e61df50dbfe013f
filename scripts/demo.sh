#!/bin/sh
# The main job on this host, in a temporary home that is gone afterwards: bring `local` up, run a short command, start a
# long one, follow it, and read how it ended. `codex-remote` from the PATH is used with --installed.
set -eu
if [ "${1:-}" = --installed ]; then
  program=codex-remote
else
  program=$(cd "$(dirname "$0")/.." && pwd)/node_modules/.bin/codex-remote
fi
home=$(mktemp -d)
export CODEX_REMOTE_HOME="$home" CODEX_REMOTE_OUTPUT=json
finish() {
  "$program" machine down local --purge >/dev/null 2>&1 || :
  "$program" controller stop >/dev/null 2>&1 || :
  rm -rf "$home"
}
trap finish EXIT
trap 'exit 130' INT TERM
show() {
  echo
  echo "\$ codex-remote $*"
  "$program" "$@"
}
show machine up local
show exec run -m local -- uname -sm
show exec start -m local --id demo --label 'a long one' --cmd 'for i in 1 2 3 4 5; do echo "step $i"; sleep 0.3; done; echo done >&2'
show exec result --id demo
show exec logs --id demo --follow
show exec result --id demo
echo
echo 'The machine is stopped and the temporary home removed.'
