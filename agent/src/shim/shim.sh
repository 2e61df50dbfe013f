# The parent of one job. POSIX sh: tested under dash, bash and busybox ash. It outlives the agent, so it calls nothing
# but builtins and the absolute paths it was given, and its working directory is the exec's folder.
#
#   sh shim.sh outer split|merge SH CAT SETSID SLEEP  UMASK OOM [ID MARK CWD ARGV...]
#   sh shim.sh inner                                  UMASK OOM [ID MARK CWD ARGV...]
#
#   fd 0  the job's stdin                    fd 4  the record, allocated before the start: whole lines `v1 ... end`
#   fd 1, 2  the file `shim`: what the       fd 5  the job's stdout, O_APPEND
#            shells say (`Killed` ...)       fd 6  the job's stderr, O_APPEND
#   fd 3  the gate: nothing runs before `go` came through it; its end aborts
#
#   outer -+- waiter --- inner, in its own session: waits at the gate, then becomes the job
#          +- pump stderr --- cat
#          +- pump stdout --- cat
#
# Records: `job <its /proc/self/stat>`, then `exit N` and its complement `check 255-N`; `aborted` and `nocwd` in place of `job` when it never ran;
# `eof STREAM` when a pump has written everything; `torn STREAM` when one lost bytes to a full disk.
# Variables are the job's environment too, hence their names.

# Deaf, and so are the pumps; the job gets the defaults back before it starts.
trap '' TERM INT HUP QUIT
set +e +u +f +x

if [ "$1" = inner ]; then
  umask "$2"
  { printf %s "$3" >/proc/self/oom_score_adj; } 2>/dev/null
  shift 3
  # Read here, where nobody waits for it: the job keeps the pid and the start time.
  IFS= read -r _cr_stat </proc/self/stat
  IFS= read -r _cr_word <&3 || _cr_word=
  if [ "$_cr_word" = take ]; then
    # A shim that was started before its job was known: id, mark, directory, then each argument as the count of its
    # further lines and its lines. Only the whole message ends with `go`.
    set --
    _cr_nl='
'
    while IFS= read -r _cr_word <&3 && [ "$_cr_word" != go ]; do
      IFS= read -r _cr_value <&3
      while [ "$_cr_word" -gt 0 ]; do
        IFS= read -r _cr_line <&3 || break 2
        _cr_value=$_cr_value$_cr_nl$_cr_line
        _cr_word=$((_cr_word - 1))
      done
      set -- "$@" "$_cr_value"
    done
  fi
  if [ "$_cr_word" != go ]; then
    printf 'v1 aborted end\n' >&4
    exit 0
  fi
  export CODEX_REMOTE_EXEC_ID="$1" CODEX_REMOTE_EXEC_MARK="$2"
  if ! cd -- "$3" 2>/dev/null; then
    printf 'v1 nocwd end\n' >&4
    exit 126
  fi
  unset OLDPWD
  shift 3
  # Who reads the record may signal the job: it is not deaf by then.
  trap - TERM INT HUP QUIT
  printf 'v1 job %s end\n' "$_cr_stat" >&4
  exec "$@" 3<&- 4>&-
fi

_cr_mode=$2 _cr_sh=$3 _cr_cat=$4 _cr_setsid=$5 _cr_sleep=$6
shift 6

# The job runs in the foreground: what sh starts with `&` ignores INT and QUIT for ever.
waiter() {
  (
    trap - TERM INT HUP QUIT
    exec ${_cr_setsid:+"$_cr_setsid"} "$_cr_sh" "$0" inner "$@" >&8 2>&7 5>&- 6>&- 7>&- 8>&-
  )
  _cr_code=$?
  # The pumps see the end at once, not after the end of this shell.
  exec >&- 7>&- 8>&-
  printf 'v1 exit %d end\nv1 check %d end\n' "$_cr_code" "$((255 - _cr_code))" >&4
}

# Holds the reading end for as long as there is a writer, so that the job never meets SIGPIPE. A cat that cannot write
# loses what it had read; it is tried again when a pipe's worth can be written here.
pump() {
  _cr_torn=
  until "$_cr_cat" 3<&- 4>&- 7>&- 8>&-; do
    [ "$_cr_torn" ] || printf 'v1 torn %s end\n' "$1" >&4
    _cr_torn=1
    "$_cr_sleep" 1
    until { printf %65536s '' >"probe.$1"; } 2>/dev/null; do "$_cr_sleep" 1; done
    : >"probe.$1"
  done
  printf 'v1 eof %s end\n' "$1" >&4
}

if [ "$_cr_mode" = merge ]; then
  waiter "$@" 7>&1 8>&1 | pump stdout >&5 5>&- 6>&-
else
  { waiter "$@" 7>&1 | pump stderr >&6 5>&- 6>&- 8>&-; } 8>&1 | pump stdout >&5 5>&- 6>&-
fi
