/**
 * The failure matrix of docs/reliability.md, groups A (processes), B (disk and state) and C (network and streams). A test
 * that proves a row carries `[row N]` in its title; the table in the docs is made of both by `npm run docs`.
 */
export interface Row {
  readonly row: number;
  readonly fault: string;
  /** What a user sees, in the words of commands, fields and codes. */
  readonly sees: string;
  /** Why the fault, or a part of it, cannot be injected by a test. */
  readonly argued?: string;
}

export const rows: readonly Row[] = [
  {
    row: 1,
    fault: 'agent killed while a job runs',
    sees: "`running` with the same `pid`; meanwhile `machine_connected:false` with `as_of`; then `finished` with the job's own `exit_code`, once",
  },
  {
    row: 2,
    fault: 'agent killed between the folder and the spawn',
    sees: '`lost`, `reason:not_started`, `safe_to_retry:true`; the id never runs',
  },
  {
    row: 3,
    fault: 'agent killed after the spawn, before `go`',
    sees: '`lost`, `reason:not_started`, `safe_to_retry:true`; the command did not run',
  },
  {
    row: 4,
    fault: 'agent killed after `go`, before its answer',
    sees: 'the start fails with `sent:unknown` or attaches; the exec is `running`, and the same id attaches (`attached:true`)',
  },
  {
    row: 5,
    fault: 'shim killed, job alive',
    sees: '`running` with warning `supervisor_lost`; then the recorded code, or `lost`, `reason:shim_died`; never 0',
  },
  {
    row: 6,
    fault: 'shim and job killed',
    sees: '`lost`, `reason:shim_died` or `no_record`, `safe_to_retry:false`; with `cancel_requested:true` where a cancel ended the job',
  },
  {
    row: 7,
    fault: 'cancel of a job that traps the signal and exits with a code of its own',
    sees: "`finished`, `reason:cancelled`, `exit_code` is the job's",
  },
  {
    row: 8,
    fault: 'cancel of a job that ignores TERM',
    sees: 'KILL after the grace; `finished`, `reason:cancelled`, `exit_code:137`',
  },
  {
    row: 9,
    fault: 'job exits 0 after a cancel',
    sees: '`finished`, `reason:cancelled`, `exit_code:0`; `run`, `watch` and `wait` exit with 130',
  },
  {
    row: 10,
    fault: 'controller killed while a job runs and is followed',
    sees: 'nothing: followers and waiters go on within 30 s, every byte once; later `connection_reset` with the id',
  },
  { row: 11, fault: 'agent and controller both killed', sees: 'as row 1 once both are back' },
  {
    row: 12,
    fault: 'host reboots (another boot id)',
    sees: 'what ran is `lost`, `reason:reboot`; recorded ends are still served; no stored pid is signalled',
  },
  {
    row: 13,
    fault: 'agent stopped for a minute',
    sees: '`machine_connected:false`, status unchanged; the same session of the machine returns, once',
  },
  {
    row: 14,
    fault: 'controller stopped',
    sees: 'nothing is lost; the agent holds no more than its window; all goes on afterwards',
  },
  {
    row: 15,
    fault: 'pid taken by another process',
    sees: '`lost`; the other process is never signalled',
  },
  { row: 16, fault: 'zombie that nobody reaps', sees: 'counts as ended' },
  { row: 17, fault: 'job process in a session of its own', sees: 'ended by `cancel` too' },
  {
    row: 18,
    fault: '`env -i setsid` in a job',
    sees: 'outside of `cancel`, which says what it ended; a documented limit',
  },
  {
    row: 19,
    fault: 'grandchild keeps stdout open',
    sees: '`finished` within 200 ms of the exit, `writers_remaining:true`; later output is kept',
  },
  {
    row: 20,
    fault: 'fork bomb',
    sees: 'other execs and `cancel` answer; the exit is recorded',
  },
  {
    row: 21,
    fault: 'command missing, not executable, bad interpreter',
    sees: '`finished`, `reason:failed_to_start`, 127 or 126, `spawn_error` says which',
  },
  {
    row: 22,
    fault: 'directory missing, or removed during the run',
    sees: 'before: `failed_to_start`, 126; during: nothing',
  },
  { row: 23, fault: '"Text file busy" for a script that was sent', sees: 'it runs' },
  {
    row: 24,
    fault: 'exit 300, exit -1, death by a signal',
    sees: 'the low 8 bits; 128+n with `signal` only where death by signal is known',
  },
  {
    row: 25,
    fault: 'agent replaced while 50 jobs run',
    sees: 'nothing: every job goes on with its pid and its code',
  },
  {
    row: 26,
    fault: 'two agents on one state folder',
    sees: 'the second ends and leaves the first alone; also after a kill -9 one only runs',
  },
  {
    row: 27,
    fault: 'cloned machine: two agents with one key',
    sees: '`duplicate_agent` for the newcomer, `duplicate_agent_at` in `machine show`; the live one stays connected',
  },
  {
    row: 28,
    fault: 'job killed for want of memory',
    sees: '137; the agent is spared (jobs have `oom_score_adj` +500)',
  },
  {
    row: 29,
    fault: 'Ctrl-C in the terminal of `machine up`',
    sees: 'the agent stays: a session of its own, no terminal',
  },
  {
    row: 30,
    fault: "logout that kills the user's processes",
    sees: '`machine show` says what survives; what was killed is `lost`',
  },
  { row: 31, fault: 'disk full when the job ends', sees: 'the exit code is recorded' },
  {
    row: 32,
    fault: 'disk full while the job writes',
    sees: 'a job that fills its pipe waits with warning `log_incomplete` and goes on once there is room, 128 KiB of its output lost at most; new execs are `disk_low`',
  },
  {
    row: 33,
    fault: 'disk full while a start is accepted',
    sees: '`disk_low`, `sent:no` or nothing accepted; no half folder',
  },
  {
    row: 34,
    fault: 'file size limit (RLIMIT_FSIZE) on the agent',
    sees: '`state_unusable` for new execs, naming EFBIG; the agent lives and what runs is recorded',
  },
  { row: 35, fault: 'journal with a torn end', sees: 'all that was whole counts; nothing is invented' },
  {
    row: 36,
    fault: 'journal damaged in the middle',
    sees: 'the same answer, or one with warning `state_damaged` (`lost` where the code cannot be told); `state_unusable` names a file that cannot be used; never another code, never a second start',
  },
  {
    row: 37,
    fault: 'state file gone, empty or foreign',
    sees: 'ends are told from what is left of the folder, else `lost`, `safe_to_retry:false`; never a second start',
  },
  {
    row: 38,
    fault: 'crash between temporary file and rename',
    sees: 'the old version, whole; leftovers are swept',
  },
  {
    row: 39,
    fault: 'power lost after an answer',
    sees: 'what was answered as accepted is there',
  },
  {
    row: 40,
    fault: 'log removed under the job',
    sees: 'readers go on; after a restart of the agent `log_gone`',
  },
  {
    row: 41,
    fault: 'log truncated on disk',
    sees: 'a gap record; offsets never begin again at 0; `/dev/stderr` and `tee` lose nothing',
  },
  { row: 42, fault: 'log replaced by a symlink, FIFO, device or other file', sees: '`log_type`' },
  {
    row: 43,
    fault: 'state on a slow disk or NFS',
    sees: 'slower answers; nobody is taken for dead',
  },
  {
    row: 44,
    fault: 'state in a folder that is cleaned',
    sees: '`state_unusable` at `machine up` where it is removed at logout, a warning there where it is cleaned by age; the per-user state folder, 0700, is the default',
  },
  {
    row: 45,
    fault: 'file descriptors used up in agent or controller',
    sees: '`fds_exhausted` for new work; sessions stay and it recovers',
  },
  { row: 46, fault: 'inherited descriptors', sees: 'jobs get 0 to 2 only; SSH channels close' },
  {
    row: 47,
    fault: 'clock jumps a day; suspend and resume',
    sees: 'nothing: deadlines and leases are monotonic, identities in boot ticks',
  },
  {
    row: 48,
    fault: 'state folder loses its permissions',
    sees: '`state_unusable`; no other folder is taken instead',
  },
  {
    row: 49,
    fault: 'half-open connection (black hole)',
    sees: '`machine_connected:false` within two heartbeats; followers resume by offset, no gap, no double',
  },
  {
    row: 50,
    fault: 'RST in the middle of a frame, a log, an upload',
    sees: 'nothing: bytes are exact; a start of over 1 MiB that can be read only once (`--stdin -`) is `connection_reset` with `sent:unknown`, and its id may be sent again',
  },
  {
    row: 51,
    fault: 'machine away longer than retention',
    sees: 'its ends, codes and logs are there when it returns; their age counts from then',
  },
  {
    row: 52,
    fault: 'acknowledgement of an end lost',
    sees: 'the end is reported again; one row in the history',
  },
  { row: 53, fault: 'same id, same request', sees: '`attached:true` with the exec that exists' },
  { row: 54, fault: 'same id, other request', sees: '`conflict`' },
  { row: 55, fault: 'answer to a start lost, and sent again', sees: 'one process; `attached:true`' },
  { row: 56, fault: 'stream ends without its last record', sees: '`stream_cut`, exit 255; never 0' },
  { row: 57, fault: 'reader that does not read', sees: 'it waits; others do not; nothing is dropped' },
  {
    row: 58,
    fault: 'socket stalled while pings are answered',
    sees: 'the session ends with `peer_silent` and is made anew',
  },
  {
    row: 59,
    fault: '10,000 agents reconnect at once',
    sees: 'existing sessions keep answering; all are back',
  },
  { row: 60, fault: 'peer claims an offset of the future', sees: '`protocol_error` ends that session alone' },
  {
    row: 61,
    fault: 'credit of 0, beyond the window, or beyond 2^53',
    sees: '`protocol_error` ends that session alone',
  },
  {
    row: 62,
    fault: 'output as fast as it goes',
    sees: 'memory stays bounded on both sides; the log limit applies',
  },
  {
    row: 63,
    fault: 'gigabytes without a newline',
    sees: 'records of <= 4096 bytes with `partial:true`; bytes are exact',
  },
  {
    row: 64,
    fault: 'binary output, NUL, invalid UTF-8, split characters',
    sees: 'raw bytes are exact; `line_b64` where a line is no UTF-8',
  },
  { row: 65, fault: 'log over 4 GiB', sees: 'offsets are exact' },
  {
    row: 66,
    fault: 'frames for a channel that is closed or unknown',
    sees: 'late ones are dropped and counted; forged ones are `protocol_error`',
  },
];
