/**
 * The registry of error codes: the only words by which programs tell failures apart.
 * `docs/errors.md` and the help are tested against it. Decide by `code`, never by message text.
 */
export interface ErrorKind {
  /** HTTP status of an API answer with this code. */
  readonly http: number;
  /** WebSocket close code when it ends a connection, if it can. */
  readonly close?: number;
  /** True only where repeating the same line cannot run a command twice. */
  readonly retryable: boolean;
  /** Words that agents look for; the message contains them exactly. */
  readonly words?: string;
  /** When it is given, in one line, for the docs. */
  readonly when: string;
}

// biome-ignore format: one code a line reads as the table that it is.
const registry = {
  usage: { http: 400, retryable: false, when: 'the command line or request could not be understood; nothing was sent' },
  unknown_machine: { http: 404, retryable: false, words: 'unknown machine', when: 'no machine of that name is registered' },
  machine_exists: { http: 409, retryable: false, when: '`machine add` met a name that is taken' },
  machine_offline: { http: 503, retryable: true, words: 'machine offline', when: 'the machine is not connected and did not come back within the wait' },
  connection_reset: { http: 502, retryable: true, words: 'connection reset by peer', when: 'the connection to the machine broke before the answer' },
  unauthorized: { http: 401, close: 4401, retryable: false, words: 'unauthorized', when: 'a credential is missing, wrong or revoked' },
  forbidden: { http: 403, retryable: false, words: 'forbidden', when: "the caller is known and may not do this: a scope is missing, or it is for the controller's own host" },
  certificate_mismatch: { http: 502, retryable: false, when: 'the controller showed another certificate than the pinned one; nothing was sent' },
  too_many_failures: { http: 429, retryable: true, when: 'this address has failed to authenticate too often; it may try again in a minute' },
  unknown_token: { http: 404, retryable: false, when: 'no token with that id is known' },
  exec_not_found: { http: 404, retryable: false, words: 'exec_id not found', when: 'no exec with that id is known' },
  conflict: { http: 409, retryable: false, words: 'conflict', when: 'the exec id exists with another request, or a file is not what `--expect-sha256` says' },
  ambiguous_id: { http: 409, retryable: false, when: 'the id or prefix matches more than one exec' },
  exec_removed: { http: 410, retryable: false, when: 'what was asked for was removed, by retention or with its record; its id never runs again' },
  host_key_unknown: { http: 502, retryable: false, when: "the host's SSH key is not in known_hosts" },
  host_key_changed: { http: 502, retryable: false, when: "the host's SSH key is not the one in known_hosts, or is revoked" },
  ssh_auth_failed: { http: 502, retryable: false, when: 'SSH reached the host and no credential was accepted' },
  ssh_unreachable: { http: 502, retryable: true, when: 'no SSH connection could be made: name, route, port or timeout' },
  ssh_config_invalid: { http: 400, retryable: false, when: 'the ssh configuration for the host cannot be read or used' },
  bootstrap_failed: { http: 502, retryable: true, when: 'a stage of `machine up` failed; `stage` names it and `remote_stderr` has what the machine said' },
  home_not_writable: { http: 502, retryable: false, when: "the agent's home on the machine cannot be written" },
  noexec_home: { http: 502, retryable: false, when: "the agent's home on the machine is mounted noexec" },
  disk_low: { http: 507, retryable: true, when: 'there is not enough free disk for what was asked' },
  runtime_unsupported: { http: 501, retryable: false, when: "the machine's system, processor or C library has no runtime of ours" },
  agent_outdated: { http: 426, close: 4426, retryable: false, when: 'agent and controller share no protocol version, or the agent lacks a capability that the request needs' },
  agent_start_failed: { http: 502, retryable: true, when: 'the agent was installed and did not dial in' },
  duplicate_agent: { http: 409, close: 4409, retryable: false, when: "another live agent uses this machine's key" },
  already_running: { http: 409, retryable: false, when: 'another process holds the lock of this state folder' },
  session_replaced: { http: 503, close: 4408, retryable: true, when: 'a newer connection of the same machine took over' },
  controller_unreachable: { http: 503, retryable: true, when: 'the controller does not answer on its socket or at its address' },
  controller_starting: { http: 503, retryable: true, when: 'the controller is not ready yet' },
  no_reachable_endpoint: { http: 409, retryable: false, when: 'no address of the controller can be dialled from elsewhere' },
  listen_failed: { http: 409, retryable: false, when: 'the controller cannot listen on the address that it was given: it is taken, not of this host, or kept for root' },
  proxy_failed: { http: 502, retryable: true, when: 'the HTTP proxy on the way to the controller cannot be used, or refused or broke the connection' },
  sandbox_denied: { http: 403, retryable: false, when: "the system refused the controller's socket, as coding agents' sandboxes do" },
  stream_cut: { http: 502, retryable: true, when: 'a stream ended without its last record' },
  too_large: { http: 413, retryable: false, when: 'the request is over a limit' },
  args_too_long: { http: 413, retryable: false, when: 'argv and environment are over what the system can start' },
  log_gone: { http: 410, retryable: false, when: 'the log file was removed under the exec' },
  log_type: { http: 409, retryable: false, when: 'the log is not the regular file that was written' },
  state_unusable: { http: 500, retryable: false, when: 'a state file or folder of ours cannot be read, written or trusted' },
  policy_refused: { http: 403, retryable: false, when: 'the policy of the machine does not let this start, or files be changed; `rule` says what of it' },
  audit_damaged: { http: 500, retryable: false, when: 'the audit log is not as it was written; `file` and `line` name the first line that is not' },
  fds_exhausted: { http: 503, retryable: true, when: 'the process is out of file descriptors; running work is kept' },
  file_not_found: { http: 404, retryable: false, when: 'there is nothing of that name on the machine, or a folder on the way to it is missing' },
  file_not_permitted: { http: 403, retryable: false, when: "the machine's user may not do this with the file, or it is one that is never removed" },
  file_exists: { http: 409, retryable: false, when: 'something of that name is there already' },
  directory_not_empty: { http: 409, retryable: false, when: 'the directory to be removed has something in it' },
  is_directory: { http: 409, retryable: false, when: 'a file was asked for and this is a directory' },
  not_directory: { http: 409, retryable: false, when: 'a directory was asked for, or a part of the path is to be one, and it is none' },
  file_type: { http: 409, retryable: false, when: 'only regular files have a content that can be had: this is a device, FIFO, socket, or a symbolic link that leads nowhere' },
  file_changed: { http: 409, retryable: true, when: 'the file was changed or replaced while it was read' },
  file_failed: { http: 502, retryable: false, when: "the machine's system failed the file operation; `errno` says how" },
  project_exists: { http: 409, retryable: false, when: '`project add` met a name that is taken' },
  unknown_project: { http: 404, retryable: false, when: 'no project of that name is registered' },
  unknown_ref: { http: 404, retryable: false, when: 'the repository has no branch, tag or commit of that name' },
  not_repository: { http: 409, retryable: false, when: 'what was given for a repository is none, or is in none' },
  git_missing: { http: 501, retryable: false, when: 'git is not there where it is needed, or is too old' },
  git_failed: { http: 502, retryable: false, when: 'git failed; `git_stderr` has what it said' },
  fetch_failed: { http: 502, retryable: true, when: "the machine could not fetch from the project's URL: no network there, no such repository, or a credential that it does not have" },
  commit_missing: { http: 409, retryable: true, when: 'the machine does not have the commit that an exec is to run at: it is sent, or fetched, first' },
  workspace_busy: { http: 409, retryable: true, when: 'another exec has the workspace, or runs in a worktree of the project' },
  sync_path: { http: 409, retryable: false, when: 'a tree that is sent has a name or a link that no tree of ours has: one that leaves it, comes twice or is kept for git' },
  sync_incomplete: { http: 409, retryable: false, when: 'a sync has done what it could, and names of the tree were refused; each is in `refused_names`' },
  sync_limit: { http: 413, retryable: false, when: 'a tree has more names, or more folders in folders, than are taken' },
  no_worktree: { http: 409, retryable: false, when: 'the exec ran in no worktree of a project, or what it made of that is gone' },
  exec_running: { http: 409, retryable: true, when: 'the exec has not ended yet, and that is needed' },
  tree_drifted: { http: 409, retryable: false, when: 'the tree here is not the one that the exec started from; `files` names what differs, and nothing was changed' },
  patch_damaged: { http: 502, retryable: true, when: 'a patch does not make the files that it is said to; nothing was changed' },
  cancel_denied: { http: 403, retryable: false, when: 'the system refused the signal' },
  too_many_channels: { http: 503, close: 4429, retryable: true, when: 'the session has as many open channels as it may' },
  unknown_verb: { http: 404, retryable: false, when: 'the peer does not know the request' },
  protocol_error: { http: 502, close: 4400, retryable: true, when: 'the peer broke a rule of the protocol; this session ends' },
  frame_too_big: { http: 502, close: 1009, retryable: true, when: 'a frame is over the limit; this session ends' },
  handshake_timeout: { http: 504, close: 4408, retryable: true, when: 'the peer did not finish the handshake in time' },
  peer_silent: { http: 504, close: 4410, retryable: true, when: 'nothing was received for two heartbeats, or queued bytes made no progress' },
  shutting_down: { http: 503, close: 1001, retryable: true, when: 'this process was asked to stop' },
  cancelled: { http: 499, retryable: true, when: 'the caller went away or withdrew the request' },
  internal: { http: 500, close: 1011, retryable: false, when: 'a defect of codex-remote; the log of the process has more' },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof registry;

export const errorKinds: Readonly<Record<ErrorCode, ErrorKind>> = registry;

/** What an error says beside its code. Everything is for a program or a person to act on; nothing secret. */
export interface ErrorDetails {
  /** What to do next, one sentence. */
  hint?: string;
  machine?: string;
  exec_id?: string;
  /** Whether the request that failed may have reached the machine. */
  sent?: 'no' | 'yes' | 'unknown';
  /** Overrides the registry where the caller knows better. */
  retryable?: boolean;
  /** Facts of this failure (fingerprint, stage, remote_stderr, field …), snake_case. */
  facts?: Readonly<Record<string, string | number | boolean | readonly string[]>>;
}

export interface WireError extends ErrorDetails {
  code: ErrorCode;
  message: string;
  retryable: boolean;
}

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(registry, value);
}

/** The one error class of ours. `message`: what failed, on what. `details.hint`: what to do next. */
export class RemoteError extends Error {
  override readonly name = 'RemoteError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }

  get kind(): ErrorKind {
    return errorKinds[this.code];
  }

  get retryable(): boolean {
    return this.details.retryable ?? this.kind.retryable;
  }

  toWire(): WireError {
    return { code: this.code, message: this.message, ...this.details, retryable: this.retryable };
  }

  /** The same failure with more details; what is already said stays. */
  with(details: ErrorDetails): RemoteError {
    const facts = { ...details.facts, ...this.details.facts };
    const merged = { ...details, ...this.details, ...(Object.keys(facts).length > 0 ? { facts } : {}) };
    return new RemoteError(this.code, this.message, merged, this.cause ?? this);
  }

  /** Reads an error that came over a wire; an unknown code of a newer peer becomes `internal` with the code in its facts. */
  static fromWire(value: unknown): RemoteError {
    const wire = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
    const message =
      typeof wire.message === 'string' ? wire.message : 'the peer reported a failure without a message';
    const details = readDetails(wire);
    if (isErrorCode(wire.code)) return new RemoteError(wire.code, message, details);
    const facts = { ...details.facts, peer_code: String(wire.code).slice(0, 64) };
    return new RemoteError('internal', message, { ...details, facts });
  }

  /**
   * Any thrown value as one of ours. What the system is short of is no defect and gets its code; the rest that is not ours
   * becomes `internal`.
   */
  static from(error: unknown): RemoteError {
    if (error instanceof RemoteError) return error;
    const message = error instanceof Error ? error.message : String(error);
    return new RemoteError(shortage(error) ?? 'internal', message, {}, error);
  }
}

/** errno(3) names of an error of Node's, and SQLITE_FULL, by what they are to users. */
const shortages: ReadonlyMap<unknown, ErrorCode> = new Map([
  ['ENOSPC', 'disk_low'],
  ['EDQUOT', 'disk_low'],
  ['EMFILE', 'fds_exhausted'],
  ['ENFILE', 'fds_exhausted'],
]);
const sqliteFull = 13;

function shortage(error: unknown): ErrorCode | undefined {
  if (!(error instanceof Error)) return undefined;
  if ('errcode' in error && error.errcode === sqliteFull) return 'disk_low';
  return 'code' in error ? shortages.get(error.code) : undefined;
}

function readDetails(wire: Record<string, unknown>): ErrorDetails {
  const details: ErrorDetails = {};
  if (typeof wire.hint === 'string') details.hint = wire.hint;
  if (typeof wire.machine === 'string') details.machine = wire.machine;
  if (typeof wire.exec_id === 'string') details.exec_id = wire.exec_id;
  if (wire.sent === 'no' || wire.sent === 'yes' || wire.sent === 'unknown') details.sent = wire.sent;
  if (typeof wire.retryable === 'boolean') details.retryable = wire.retryable;
  if (typeof wire.facts === 'object' && wire.facts !== null) details.facts = readFacts(wire.facts);
  return details;
}

/** Keeps what a fact may be and drops the rest: the other side may be anyone. */
function readFacts(source: object): NonNullable<ErrorDetails['facts']> {
  const facts: Record<string, string | number | boolean | readonly string[]> = {};
  for (const [name, value] of Object.entries(source).slice(0, 64)) {
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
      facts[name] = value;
    else if (Array.isArray(value) && value.every((entry) => typeof entry === 'string')) facts[name] = value;
  }
  return facts;
}
