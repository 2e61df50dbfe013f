# One job of a chaos run: job.sh TRUTH ID VARIANT KIND COUNT CODE
#
# What it does is written down outside of every folder of ours, before it is done: a line `start UPTIME VARIANT PID TICKS`
# in TRUTH/ID, the bytes of its streams in TRUTH/ID.stdout and TRUTH/ID.stderr, and `exit UPTIME CODE` before it exits.
truth=$1/$2 variant=$3 kind=$4 count=$5 code=$6

# A shell says there what a signal did to a child of its own (`Terminated`): that is none of the job's output.
exec 3>&2 2>/dev/null

note() {
  read -r uptime idle </proc/uptime
  printf '%s\n' "$1 $uptime $2" >>"$truth"
}
say() {
  printf '%s\n' "$1" >>"$truth.stdout"
  printf '%s\n' "$1"
}
finish() {
  note exit "$code"
  exit "$code"
}

read -r stat </proc/self/stat
# Field 22 is the start time; the name in brackets may hold blanks.
set -- ${stat##*) }
shift 19
note start "$variant $$ $1"
: >>"$truth.stdout"
: >>"$truth.stderr"

case $kind in
quick) say "quick $variant" ;;
ticks)
  i=0
  while [ "$i" -lt "$count" ]; do
    say "tick $i $variant"
    printf 'tock %s\n' "$i" >>"$truth.stderr"
    printf 'tock %s\n' "$i" >&3
    i=$((i + 1))
    sleep 0.04
  done
  ;;
binary)
  head -c "$count" /dev/urandom >"$truth.stdout"
  head -c "$((count / 2))" /dev/urandom >"$truth.stderr"
  cat "$truth.stdout"
  cat "$truth.stderr" >&3
  ;;
text)
  seq -f "line %09.0f of $variant" 1000000 | head -c "$count" >"$truth.stdout"
  seq -f "error %g" 1000000 | head -c "$((count / 2))" >"$truth.stderr"
  cat "$truth.stdout"
  cat "$truth.stderr" >&3
  ;;
sleep)
  say asleep
  exec sleep 3600
  ;;
stubborn)
  trap '' TERM INT
  say stubborn
  while :; do sleep 1; done
  ;;
polite)
  trap finish TERM INT
  say polite
  while :; do sleep 0.2; done
  ;;
background)
  say front
  # One keeps the pipe open and writes after the end; one leaves the session.
  (
    sleep 1.5
    say back
  ) &
  setsid sleep 2 >/dev/null 3>&- &
  ;;
suicide)
  say farewell
  note exit 137
  kill -9 $$
  ;;
echo)
  cat >"$truth.stdout"
  cat "$truth.stdout"
  ;;
esac
finish
