import type {
  AuditList,
  AuditVerdict,
  CancelReply,
  Capability,
  ControllerStatus,
  DirectChange,
  ExecSpec,
  ExecView,
  Invited,
  IssuedToken,
  LogSelection,
  MachineAdd,
  MachineCheck,
  MachineDownResult,
  MachineUp,
  MachineView,
  PolicyChange,
  PolicyView,
  QueueSettings,
  QueueView,
  SignalName,
  SshContext,
  TokenCreate,
  TokenView,
} from '@codex-remote/protocol/schema';
import type { ExecRecord } from '@codex-remote/protocol/wire';
import { Connection, type ConnectionOptions, jsonHeaders } from './connection.ts';
import { readControllerStatus } from './controller-status.ts';
import { readRecords } from './records.ts';
import { arrayOf, booleanOf, numberOf, objectOf, stringOf } from './shape.ts';
import { Sending, sentBefore, type UploadSource, uploadOf } from './upload.ts';
import {
  type ExecList,
  readCancelReply,
  readExecList,
  readExecView,
  readStartReply,
  readWaitReply,
  type WaitReply,
} from './views.ts';

export interface StartRequest {
  readonly machine: string | undefined;
  readonly spec: ExecSpec;
  readonly script?: UploadSource | undefined;
  readonly stdin?: UploadSource | undefined;
  /** How long to wait for a known machine that is just reconnecting. */
  readonly connectWaitMs: number;
}

export interface ListQuery {
  readonly machine?: string | undefined;
  readonly status?: readonly string[] | undefined;
  readonly label?: string | undefined;
  readonly session?: string | undefined;
  readonly since_ms?: number | undefined;
  readonly until_ms?: number | undefined;
  readonly limit?: number | undefined;
}

export interface AuditQuery {
  readonly machine?: string | undefined;
  readonly verb?: string | undefined;
  readonly since_ms?: number | undefined;
  readonly until_ms?: number | undefined;
  readonly limit?: number | undefined;
}

/** Offsets in bytes of what has been received, per stream. */
export interface Positions {
  stdout: number;
  stderr: number;
}

type Options = { signal?: AbortSignal | undefined };
type ExecAddress = { id: string; machine?: string | undefined };

const recordsHeaders = { 'content-type': 'application/vnd.codex-remote.records' } as const;

/**
 * The controller's HTTP API (`controller-api.ts` of protocol), a method a route. Every method throws `RemoteError`:
 * what the controller said, or what `http.ts` and `connection.ts` say about reaching it.
 */
export class ControllerClient {
  readonly connection: Connection;

  constructor(options: ConnectionOptions) {
    this.connection = new Connection(options);
  }

  /** Never starts a controller: throws `controller_unreachable` when none runs. */
  async status(): Promise<ControllerStatus> {
    return readControllerStatus(
      await this.connection.json(
        { method: 'GET', path: '/v1/controller', answerMs: 5_000 },
        { mayStart: false },
      ),
    );
  }

  /** Whether and where the controller listens for the network. */
  async changeDirect(change: DirectChange): Promise<ControllerStatus> {
    return readControllerStatus(await this.#settings('/v1/controller/direct', change));
  }

  /** The next certificate serves after `overlap_ms`. */
  async rotateCertificate(overlap_ms: number): Promise<ControllerStatus> {
    return readControllerStatus(await this.#settings('/v1/controller/certificate', { overlap_ms }));
  }

  #settings(path: string, body: object): Promise<unknown> {
    return this.connection.json({
      method: 'POST',
      path,
      headers: jsonHeaders,
      body: json(body),
      answerMs: 30_000,
    });
  }

  /** Never starts a controller. */
  async stop(): Promise<void> {
    await this.connection.json(
      { method: 'POST', path: '/v1/controller/stop', headers: jsonHeaders, body: json({}), answerMs: 15_000 },
      { mayStart: false },
    );
  }

  async machines(options: Options = {}): Promise<MachineView[]> {
    const value = objectOf(
      await this.connection.json({ method: 'GET', path: '/v1/machines', ...options }),
      'machines',
    );
    return arrayOf(value.machines, 'machines').map(readMachineView);
  }

  async machine(name: string, options: Options = {}): Promise<MachineView> {
    return readMachineView(
      await this.connection.json({
        method: 'GET',
        path: `/v1/machines/${encodeURIComponent(name)}`,
        ...options,
      }),
    );
  }

  async addMachine(machine: MachineAdd, options: Options = {}): Promise<MachineView> {
    return readMachineView(
      await this.connection.json({
        method: 'POST',
        path: '/v1/machines',
        headers: jsonHeaders,
        body: json(machine),
        ...options,
      }),
    );
  }

  async removeMachine(name: string, options: Options = {}): Promise<void> {
    await this.connection.json({
      method: 'DELETE',
      path: `/v1/machines/${encodeURIComponent(name)}`,
      ...options,
    });
  }

  async setQueues(
    name: string,
    concurrency: QueueSettings,
    connectWaitMs: number,
    options: Options = {},
  ): Promise<QueueView[]> {
    const path = `/v1/machines/${encodeURIComponent(name)}/queues${query({ connect_wait_ms: connectWaitMs })}`;
    const body = json({ concurrency });
    const value = objectOf(
      await this.connection.json({ method: 'POST', path, headers: jsonHeaders, body, ...options }),
      'queues',
    );
    return arrayOf(value.queues, 'queues').map(readQueueView);
  }

  async setPolicy(name: string, change: PolicyChange, options: Options = {}): Promise<PolicyView> {
    const path = `/v1/machines/${encodeURIComponent(name)}/policy`;
    const view = objectOf(
      await this.connection.json({
        method: 'POST',
        path,
        headers: jsonHeaders,
        body: json(change),
        ...options,
      }),
      'policy',
    );
    stringOf(objectOf(view.policy, 'policy').mode, 'mode');
    stringOf(view.enforced_by, 'enforced_by');
    return view as PolicyView;
  }

  async checkMachine(name: string, ssh: SshContext, options: Options = {}): Promise<MachineCheck> {
    const path = `/v1/machines/${encodeURIComponent(name)}/check`;
    const value = objectOf(
      await this.connection.json({ method: 'POST', path, headers: jsonHeaders, body: json(ssh), ...options }),
      'machine check',
    );
    stringOf(value.machine, 'machine');
    booleanOf(value.daemon_ok, 'daemon_ok');
    stringOf(value.checked_at, 'checked_at');
    return value as MachineCheck;
  }

  /** Records: an event `{stage}` or `{prompt}` each, last `{up}` or `{error}`. What is installed is what our release brings. */
  async *upMachine(
    name: string,
    up: MachineUp,
    options: Options = {},
  ): AsyncGenerator<ExecRecord, void, void> {
    const path = `/v1/machines/${encodeURIComponent(name)}/up`;
    await this.connection.useOwnRelease();
    const response = await this.connection.open({
      method: 'POST',
      path,
      headers: jsonHeaders,
      body: json(up),
      ...options,
    });
    yield* readRecords(response.body);
  }

  /** A line to paste on a machine that nobody can dial. */
  async inviteMachine(name: string, options: Options = {}): Promise<Invited> {
    await this.connection.useOwnRelease();
    const path = `/v1/machines/${encodeURIComponent(name)}/invite`;
    const value = objectOf(
      await this.connection.json({ method: 'POST', path, headers: jsonHeaders, body: json({}), ...options }),
      'invited',
    );
    return {
      machine: stringOf(value.machine, 'machine'),
      command: stringOf(value.command, 'command'),
      expires_at: stringOf(value.expires_at, 'expires_at'),
    };
  }

  /** Lets in nobody any more by lines and files that were not used yet; how many those are. */
  async revokeInvitations(name: string, options: Options = {}): Promise<number> {
    const path = `/v1/machines/${encodeURIComponent(name)}/invite`;
    const value = objectOf(await this.connection.json({ method: 'DELETE', path, ...options }), 'revoked');
    return numberOf(value.revoked, 'revoked');
  }

  /** The same as a file to carry there: data of stdout, then the event `invited`. */
  async *inviteByBundle(name: string, options: Options = {}): AsyncGenerator<ExecRecord, void, void> {
    const path = `/v1/machines/${encodeURIComponent(name)}/invite-bundle`;
    await this.connection.useOwnRelease();
    const response = await this.connection.open({
      method: 'POST',
      path,
      headers: jsonHeaders,
      body: json({}),
      ...options,
    });
    yield* readRecords(response.body);
  }

  /** `answer` absent: the person gives none. Throws `usage` when nobody waits for it any more. */
  async answerPrompt(id: string, answer: string | undefined, options: Options = {}): Promise<void> {
    await this.connection.json({
      method: 'POST',
      path: `/v1/prompts/${encodeURIComponent(id)}`,
      headers: jsonHeaders,
      body: json({ answer }),
      ...options,
    });
  }

  async downMachine(name: string, purge: boolean, options: Options = {}): Promise<MachineDownResult> {
    const path = `/v1/machines/${encodeURIComponent(name)}/down`;
    const value = objectOf(
      await this.connection.json({
        method: 'POST',
        path,
        headers: jsonHeaders,
        body: json({ purge }),
        ...options,
      }),
      'machine down',
    );
    return {
      machine: stringOf(value.machine, 'machine'),
      stopped: booleanOf(value.stopped, 'stopped'),
      running: arrayOf(value.running, 'running').map((id) => stringOf(id, 'exec_id')),
      queued: arrayOf(value.queued ?? [], 'queued').map((id) => stringOf(id, 'exec_id')),
      purged: booleanOf(value.purged, 'purged'),
    };
  }

  async tokens(options: Options = {}): Promise<TokenView[]> {
    const value = objectOf(
      await this.connection.json({ method: 'GET', path: '/v1/tokens', ...options }),
      'tokens',
    );
    return arrayOf(value.tokens, 'tokens').map(readTokenView);
  }

  /** `token` in the answer is the only copy of the secret. */
  async createToken(wanted: TokenCreate, options: Options = {}): Promise<IssuedToken> {
    const body = json(wanted);
    const value = await this.connection.json({
      method: 'POST',
      path: '/v1/tokens',
      headers: jsonHeaders,
      body,
      ...options,
    });
    const { token, url, certificates, spki_sha256 } = objectOf(value, 'token');
    return {
      ...readTokenView(value),
      token: stringOf(token, 'token'),
      url: stringOf(url, 'url'),
      certificates: arrayOf(certificates, 'certificates').map((text) => stringOf(text, 'certificate')),
      spki_sha256: arrayOf(spki_sha256, 'spki_sha256').map((text) => stringOf(text, 'pin')),
    };
  }

  async revokeToken(id: string, options: Options = {}): Promise<TokenView> {
    const path = `/v1/tokens/${encodeURIComponent(id)}`;
    return readTokenView(await this.connection.json({ method: 'DELETE', path, ...options }));
  }

  /** Sent again where the machine broke off in the middle of it. */
  async startExec(start: StartRequest, options: Options = {}) {
    const sending = new Sending(start);
    for (let before = false; ; before = true) {
      try {
        return readStartReply(await this.connection.json({ ...startRequest(start, false), ...options }));
      } catch (error) {
        if (!sending.again(error)) throw before ? sentBefore(error) : error;
      }
    }
  }

  /** Starts and follows in one request; the records of `watchExec`. */
  async *runExec(start: StartRequest, options: Options = {}): AsyncGenerator<ExecRecord, void, void> {
    const response = await this.connection.open({ ...startRequest(start, true), ...options });
    yield* readRecords(response.body);
  }

  /** Records: event `{started}` first, then data, time and gap from `from` on, last event `{finished}` or `{error}`. */
  async *watchExec(
    { id, machine }: ExecAddress,
    from: Positions,
    options: Options & { mayStart?: boolean } = {},
  ): AsyncGenerator<ExecRecord, void, void> {
    const { mayStart, ...rest } = options;
    const path = `/v1/execs/${encodeURIComponent(id)}/watch${query({ machine, stdout: from.stdout, stderr: from.stderr })}`;
    const response = await this.connection.open(
      { method: 'GET', path, ...rest },
      mayStart === undefined ? {} : { mayStart },
    );
    yield* readRecords(response.body);
  }

  async exec({ id, machine }: ExecAddress, tailBytes: number, options: Options = {}): Promise<ExecView> {
    const path = `/v1/execs/${encodeURIComponent(id)}${query({ machine, tail_bytes: tailBytes })}`;
    return readExecView(await this.connection.json({ method: 'GET', path, ...options }));
  }

  async execs(wanted: ListQuery, options: Options = {}): Promise<ExecList> {
    const { status, ...rest } = wanted;
    const path = `/v1/execs${query({ ...rest, status: status?.join(',') })}`;
    return readExecList(await this.connection.json({ method: 'GET', path, ...options }));
  }

  /** Records: data, time and gap, last event `{end: {complete, view}}`. */
  async *logs(
    { id, machine }: ExecAddress,
    select: LogSelection,
    options: Options = {},
  ): AsyncGenerator<ExecRecord, void, void> {
    const path = `/v1/execs/${encodeURIComponent(id)}/logs${query({ machine, select: JSON.stringify(select) })}`;
    const response = await this.connection.open({ method: 'GET', path, ...options });
    yield* readRecords(response.body);
  }

  /** Answered once all (or one) of them have ended, or after `maxWaitMs`; undefined: however long it takes. */
  async wait(
    ids: readonly string[],
    mode: 'all' | 'any',
    maxWaitMs: number | undefined,
    options: Options & { machine?: string | undefined } = {},
  ): Promise<WaitReply> {
    const { machine, ...rest } = options;
    const path = `/v1/execs-wait${query({ machine, mode, max_wait_ms: maxWaitMs })}${ids.map((id) => `&id=${encodeURIComponent(id)}`).join('')}`;
    return readWaitReply(await this.connection.json({ method: 'GET', path, ...rest }));
  }

  async audit(wanted: AuditQuery, options: Options = {}): Promise<AuditList> {
    const path = `/v1/audit${query({ ...wanted })}`;
    const list = objectOf(await this.connection.json({ method: 'GET', path, ...options }), 'audit list');
    booleanOf(list.more, 'more');
    for (const entry of arrayOf(list.entries, 'entries')) {
      const line = objectOf(entry, 'audit entry');
      for (const name of ['at', 'principal', 'source', 'verb', 'result']) stringOf(line[name], name);
      numberOf(line.seq, 'seq');
    }
    return list as AuditList;
  }

  async verifyAudit(options: Options = {}): Promise<AuditVerdict> {
    const verdict = objectOf(
      await this.connection.json({ method: 'GET', path: '/v1/audit/verify', ...options }),
      'audit verdict',
    );
    numberOf(verdict.count, 'count');
    if (booleanOf(verdict.ok, 'ok')) stringOf(objectOf(verdict.head, 'head').hash, 'hash');
    else stringOf(verdict.problem, 'problem');
    return verdict as AuditVerdict;
  }

  async cancelExec(
    { id, machine }: ExecAddress,
    cancel: { signal: SignalName; grace_ms: number },
    connectWaitMs: number,
    options: Options = {},
  ): Promise<CancelReply> {
    const path = `/v1/execs/${encodeURIComponent(id)}/cancel${query({ machine, connect_wait_ms: connectWaitMs })}`;
    return readCancelReply(
      await this.connection.json({
        method: 'POST',
        path,
        headers: jsonHeaders,
        body: json(cancel),
        ...options,
      }),
    );
  }
}

/** Capabilities of the agent without which it would refuse the exec, or start what is to wait. */
function needsOf({
  queue,
  after,
  after_any,
  log_limit_bytes,
  log_limit_action,
  worktree,
  artifacts,
}: ExecSpec): Capability[] {
  const needs: Capability[] = [];
  if (queue !== undefined || after || after_any) needs.push('queues');
  if (log_limit_bytes !== undefined || log_limit_action !== undefined) needs.push('log_limit');
  if (worktree !== undefined) needs.push('git');
  if (artifacts) needs.push('artifacts');
  return needs;
}

function startRequest(start: StartRequest, follow: boolean) {
  const { exec_id } = start.spec;
  const needs = needsOf(start.spec).join(',') || undefined;
  const path = `/v1/execs${query({ machine: start.machine, exec_id, follow: follow ? 1 : 0, connect_wait_ms: start.connectWaitMs, needs })}`;
  return { method: 'POST', path, headers: recordsHeaders, body: uploadOf(start) } as const;
}

function readMachineView(value: unknown): MachineView {
  const view = objectOf(value, 'machine');
  stringOf(view.machine, 'machine');
  booleanOf(view.connected, 'connected');
  booleanOf(view.installed, 'installed');
  stringOf(view.added_at, 'added_at');
  if (view.queues !== undefined) arrayOf(view.queues, 'queues').map(readQueueView);
  return value as MachineView;
}

function readTokenView(value: unknown): TokenView {
  const view = objectOf(value, 'token');
  stringOf(view.id, 'id');
  stringOf(view.status, 'status');
  arrayOf(view.scopes, 'scopes');
  return value as TokenView;
}

function readQueueView(value: unknown): QueueView {
  const view = objectOf(value, 'queue');
  return {
    queue: stringOf(view.queue, 'queue'),
    concurrency: numberOf(view.concurrency, 'concurrency'),
    running: numberOf(view.running, 'running'),
    queued: numberOf(view.queued, 'queued'),
  };
}

function json(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}

function query(fields: Readonly<Record<string, string | number | undefined>>): string {
  const parts: string[] = [];
  for (const name in fields) {
    const value = fields[name];
    if (value !== undefined) parts.push(`${name}=${encodeURIComponent(value)}`);
  }
  return `?${parts.join('&')}`;
}
