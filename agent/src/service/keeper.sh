#!/bin/sh
# keeper.sh NODE AGENT HOME: runs the agent where no service manager does, and runs it again after a crash, later each
# time. It ends when the agent ends by itself (it was stopped, or another agent has the home), and when HOME/keeper names
# another keeper. Which agent serves is not decided here: the home's lock does.
# Descriptor 3, where there is one, is for the first agent: it closes it once it serves.
node=$1 agent=$2 home=$3
# These two: see memory.ts.
export MALLOC_MMAP_THRESHOLD_=262144
young=--max-semi-space-size=1
trap '' HUP
child=
trap '[ -z "$child" ] || kill "$child" 2>/dev/null; exit 0' TERM INT
printf '%s\n' "$$" >"$home/.keeper-$$" && mv "$home/.keeper-$$" "$home/keeper" || exit 1
appointed() { IFS= read -r named <"$home/keeper" && [ "$named" = "$$" ]; } 2>/dev/null
# Not by `:`, for which a shell that cannot redirect it ends.
if { true >&3; } 2>/dev/null; then ready=3; else ready=; fi
pause=1
while appointed; do
  began=$(date +%s)
  if [ -n "$ready" ]; then
    "$node" "$young" "$agent" daemon --home "$home" --service detached --keeper "$$" --ready-fd 3 </dev/null &
  else
    "$node" "$young" "$agent" daemon --home "$home" --service detached --keeper "$$" </dev/null &
  fi
  child=$!
  exec 3>&-
  ready=
  wait "$child" && exit 0
  child=
  [ -x "$node" ] && [ -f "$agent" ] || exit 1
  [ "$(($(date +%s) - began))" -lt 60 ] || pause=1
  sleep "$pause" &
  child=$!
  wait "$child"
  child=
  [ "$pause" -ge 60 ] || pause=$((pause * 2))
done
