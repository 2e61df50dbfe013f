#!/bin/sh
# Everything that must pass: what the tests need, then lint, types, unit, end-to-end, chaos. Run by `npm test` and CI.
set -eu
cd "$(dirname "$0")/.."

# The tests talk to a real OpenSSH server, and run the shim under busybox too.
missing=
[ -x /usr/sbin/sshd ] || missing="$missing openssh-server"
command -v ssh >/dev/null || missing="$missing openssh-client"
command -v busybox >/dev/null || missing="$missing busybox"
command -v git >/dev/null || missing="$missing git"
# Machines are invited by a line that fetches with either, from a network namespace.
command -v curl >/dev/null || missing="$missing curl"
command -v wget >/dev/null || missing="$missing wget"
command -v ip >/dev/null || missing="$missing iproute2"
# Units are checked by systemd itself, and run under a user manager that a test starts.
command -v systemd-analyze >/dev/null || missing="$missing systemd"
if [ -n "$missing" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of package names of ours
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
  else
    echo "the tests need$missing: install them, e.g. sudo apt-get install$missing" >&2
    exit 1
  fi
fi

npm run --silent build
npm run --silent lint
npm run --silent typecheck
node_modules/.bin/vitest run
# Two minutes of faults by one plan, so that what fails is of the change; CR_CHAOS_MINUTES and CR_CHAOS_SEED choose others, and
# `npm run chaos` a plan that nobody has seen.
export CR_CHAOS_SEED="${CR_CHAOS_SEED:-1211663656}"
exec node_modules/.bin/node test/chaos/main.ts
