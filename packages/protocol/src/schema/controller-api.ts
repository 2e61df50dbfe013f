import { z } from 'zod';
import type { WireError } from '../wire/errors.ts';
import { queueSettings, queueView } from './agent-api.ts';
import { execState, logSelection, signalName } from './exec.ts';
import { execId, machineName } from './names.ts';
import { machinePolicy, policyMode } from './policy.ts';
import { agentService } from './service.ts';

/**
 * The controller's HTTP API, `/v1/…`, JSON unless said otherwise. Errors are `{error: WireError}` with the status of the
 * registry. A body or answer of "records" is `application/vnd.codex-remote.records` (wire/record.ts).
 *
 *   GET    /v1/controller                      ControllerStatus
 *   POST   /v1/controller/stop                 {build?} -> {stopping:true}; `conflict` when it is of another build
 *   POST   /v1/controller/direct               DirectChange -> ControllerStatus
 *   POST   /v1/controller/certificate          {overlap_ms} -> ControllerStatus; makes the next certificate, or sets anew when it serves
 *   GET    /v1/machines                        {machines: MachineView[]}
 *   POST   /v1/machines                        MachineAdd -> MachineView
 *   GET    /v1/machines/:name                  MachineView, with `queues`
 *   POST   /v1/machines/:name/queues?connect_wait_ms=   {concurrency: QueueSettings} -> {queues: QueueView[]}
 *   POST   /v1/machines/:name/policy           PolicyChange -> PolicyView
 *   DELETE /v1/machines/:name                  -> {removed:true}
 *   POST   /v1/machines/:name/check            SshContext -> MachineCheck
 *   POST   /v1/machines/:name/up               MachineUp -> records: event {stage: Stage} or {prompt: Prompt} each, last event {up: MachineUpResult} or {error}
 *   POST   /v1/machines/:name/invite           {} -> Invited; the machine is registered by it
 *   DELETE /v1/machines/:name/invite           -> {revoked}: how many invitations let nobody in any more
 *   POST   /v1/machines/:name/invite-bundle    {} -> records: data of stream stdout (the file), last event {invited: {machine, expires_at}} or {error}
 *   POST   /v1/prompts/:id                     PromptAnswer -> {answered:true}
 *   POST   /v1/machines/:name/down             {purge} -> MachineDownResult
 *   POST   /v1/execs?machine=&exec_id=&follow=0|1&connect_wait_ms=&needs=   records (spec, script, stdin) -> StartReply, or with follow=1 records: see watch
 *   GET    /v1/execs?machine=&status=&label=&session=&since_ms=&until_ms=&limit=   {execs: ExecView[], total, more}
 *   GET    /v1/execs/:id?machine=&tail_bytes=  ExecView with tails (base64)
 *   GET    /v1/execs/:id/logs?machine=&select=<JSON of LogSelection>   records, last event {end: {complete, view: ExecView}}
 *   GET    /v1/execs/:id/watch?machine=&stdout=N&stderr=N   records: event {started: StartReply} first, data/time/gap, last event {finished: ExecView with tails} or {error}
 *   GET    /v1/execs-wait?machine=&id=&id=&mode=all|any&max_wait_ms=   {execs: ExecView[], done: boolean}; tails as in /v1/execs/:id
 *   GET    /v1/audit?since_ms=&until_ms=&verb=&machine=&limit=   AuditList, newest first
 *   GET    /v1/audit/verify                    AuditVerdict
 *   POST   /v1/execs/:id/cancel?machine=&connect_wait_ms=   {signal, grace_ms} -> CancelReply
 *   GET    /v1/machines/:name/files/stat?path_b64=&sha256=0|1&connect_wait_ms=   FileInfo
 *   GET    /v1/machines/:name/files/list?path_b64=&limit=&cursor=&connect_wait_ms=   records: event {entries: FileEntry[]} each, last event {end: {path, total, more, next_cursor}}
 *   GET    /v1/machines/:name/files/read?path_b64=&from=&max_bytes=&version=&connect_wait_ms=   records: event {file: FileInfo} first, data, last event {end: {next, complete}}
 *   POST   /v1/machines/:name/files/write?path_b64=&write_id=&size=&mode=&expect_sha256=&create_only=0|1&parents=0|1&connect_wait_ms=   records (data of `content`, event {end: {bytes, sha256}}) -> records: one event {written: FileWritten} or {error}
 *   POST   /v1/machines/:name/files/remove?path_b64=&connect_wait_ms=   {recursive} -> FileRemoved
 *   POST   /v1/machines/:name/files/mkdir?path_b64=&connect_wait_ms=   {parents, mode?} -> FolderMade
 *   GET    /v1/projects                        {projects: ProjectView[]}
 *   POST   /v1/projects                        ProjectAdd -> ProjectView
 *   GET    /v1/projects/:project               ProjectView
 *   DELETE /v1/projects/:project?purge=0|1     -> ProjectRemoved
 *   POST   /v1/machines/:name/git/have?project=&connect_wait_ms=   {want} -> the reply of `git.have`
 *   POST   /v1/machines/:name/git/receive?project=&commit=&object_format=&shallow=&connect_wait_ms=   records (data of `content`, event {end: {bytes, sha256}}) -> records: one event {received: {commit, tree}} or {error}
 *   POST   /v1/machines/:name/git/fetch?project=&connect_wait_ms=   {ref} -> {commit, tree}; from the URL of the project
 *   GET    /v1/tokens                          {tokens: TokenView[]}
 *   POST   /v1/tokens                          TokenCreate -> IssuedToken
 *   DELETE /v1/tokens/:id                      -> TokenView, revoked
 *
 * Beside these, for who knows the id of an invitation that is within its time: GET /v1/join/ID/FILE, what its script fetches.
 *
 * `needs` names the capabilities without which a request cannot be meant, with commas between them.
 * Over TLS a request brings `authorization: Bearer <token>`; what its scopes do not give is `forbidden`, and what they do not
 * let it see is not there. A request with an `Origin` is refused on every way.
 * `path_b64` is a path there in base64url: names are bytes. Text that is not UTF-8 is in the field of an answer whose name has `_b64`.
 * `:id` may be a unique prefix. A caller that goes away ends its own request only, never an exec.
 */
export const recordsContentType = 'application/vnd.codex-remote.records';

const wireError = z.custom<WireError>(
  (value) =>
    z.looseObject({ code: z.string(), message: z.string(), retryable: z.boolean() }).safeParse(value).success,
);

/** How a controller is reached over the network. Absent fields: it is not. */
export const directStatus = z.object({
  /** `HOST:PORT` */
  listen: z.string().optional(),
  /** Why it does not listen there now; it tries again. */
  listen_error: wireError.optional(),
  /** `https://HOST[:PORT]` */
  public_url: z.string().optional(),
  /** SHA-256 of the key that serves, base64: the pin. */
  certificate_sha256: z.string().optional(),
  certificate_expires_at: z.string().optional(),
  /** During a rotation: the key that will serve, and from when. */
  next_certificate_sha256: z.string().optional(),
  next_certificate_from: z.string().optional(),
});
export type DirectStatus = z.infer<typeof directStatus>;

/** Absent: as it is. null: none. */
export const directChange = z.strictObject({
  listen: z.string().max(300).nullable().optional(),
  public_url: z.string().max(300).nullable().optional(),
});
export type DirectChange = z.infer<typeof directChange>;

/** The longest overlap of a rotation: 90 days. */
const maxOverlapMs = 90 * 24 * 60 * 60 * 1000;
export const certificateRotation = z.strictObject({
  overlap_ms: z.number().int().nonnegative().max(maxOverlapMs),
});

export const controllerStatus = directStatus.extend({
  running: z.literal(true),
  pid: z.number().int(),
  version: z.string(),
  build: z.string(),
  /** Absent for a caller that is elsewhere. */
  socket: z.string().optional(),
  started_at: z.string(),
  machines_connected: z.number().int(),
});
export type ControllerStatus = z.infer<typeof controllerStatus>;

/** What a CLI request carries so that SSH works as it would for its user; the machine keeps the last that worked. */
export const sshContext = z.object({
  auth_sock: z.string().optional(),
  config_path: z.string().optional(),
  transport: z.enum(['ssh2', 'system']).optional(),
  /** SHA256:… fingerprint that the user accepts for this host. */
  accept_host_key: z.string().optional(),
});
export type SshContext = z.infer<typeof sshContext>;

export const machineAdd = z.object({
  name: machineName,
  /** user@host[:port], or absent where the name is a Host of the ssh config or `local`. */
  ssh: z.string().optional(),
  agent_home: z.string().optional(),
});
export type MachineAdd = z.infer<typeof machineAdd>;

export const machineUp = sshContext.extend({
  ssh: z.string().optional(),
  agent_home: z.string().optional(),
  system_node: z.boolean().optional(),
  /** Bridge even where forwarding is allowed, for tests and odd servers. */
  bridge: z.boolean().optional(),
  /** Start the agent at boot, by cron where no service manager does. */
  boot: z.boolean().optional(),
  /** A person sits at the caller's terminal: what the SSH login asks is sent there as prompts. */
  interactive: z.boolean().optional(),
});
export type MachineUp = z.infer<typeof machineUp>;

/** A question of the SSH login: a passphrase, a password, a one-time code. `text` can come from the server. */
export const prompt = z.object({
  id: z.string(),
  text: z.string(),
  /** What is typed is not shown. */
  secret: z.boolean(),
});
export type Prompt = z.infer<typeof prompt>;

/** `answer` absent: the person gives none. It is used once and kept nowhere. */
export const promptAnswer = z.strictObject({ answer: z.string().max(4096).optional() });
export type PromptAnswer = z.infer<typeof promptAnswer>;

/** What is to be changed of a policy; what is absent stays. A list replaces the one before. */
export const policyChange = z.strictObject({
  policy: policyMode.optional(),
  allow: z.array(z.string()).max(128).optional(),
  allow_cwd: z.array(z.string()).max(64).optional(),
  allow_env: z.array(z.string()).max(64).optional(),
  require_label: z.boolean().optional(),
});
export type PolicyChange = z.infer<typeof policyChange>;

export const policyView = z.object({
  policy: machinePolicy,
  /** Who refuses what it does not let start: the agent too, or this controller alone (an agent that is away, older, or has a wider one). */
  enforced_by: z.enum(['agent', 'controller']),
  /** Where it is another one: what the agent has. A wider one than that is taken from `machine up` only. */
  agent_policy: machinePolicy.optional(),
  /** No `machine up` leads to it: a wider one is given to its agent by who is on the machine. */
  invited: z.literal(true).optional(),
});
export type PolicyView = z.infer<typeof policyView>;

export const machineView = z.object({
  machine: machineName,
  ssh: z.string().optional(),
  connected: z.boolean(),
  connection: z.enum(['local', 'tunnel', 'bridge', 'direct']).optional(),
  connected_since: z.string().optional(),
  last_seen_at: z.string().optional(),
  /** When another agent with this machine's key was last refused: a clone of the machine, or a copy of the agent's home. */
  duplicate_agent_at: z.string().optional(),
  agent_version: z.string().optional(),
  agent_home: z.string().optional(),
  /** What keeps the agent running, and what it survives; as of the last `machine up`. */
  service: agentService.optional(),
  installed: z.boolean(),
  /** It comes, or is to come, by an invitation: no `machine up` leads to it. */
  invited: z.literal(true).optional(),
  running: z.number().int().optional(),
  queued: z.number().int().optional(),
  /** What may be started there; absent: everything. */
  policy: machinePolicy.optional(),
  /** In the answer about one machine. */
  policy_enforced_by: z.enum(['agent', 'controller']).optional(),
  agent_policy: machinePolicy.optional(),
  /** In the answer about one machine that is connected and knows queues. */
  queues: z.array(queueView).optional(),
  added_at: z.string(),
});
export type MachineView = z.infer<typeof machineView>;

export const machineCheck = z.object({
  machine: z.string(),
  /** null: SSH is not how this machine is reached. */
  ssh_ok: z.boolean().nullable(),
  ssh_checked_at: z.string().optional(),
  daemon_ok: z.boolean(),
  /** A real exec, start to finished; absent when none could be made. */
  latency_ms: z.number().optional(),
  connection: z.enum(['local', 'tunnel', 'bridge', 'direct']).optional(),
  agent_version: z.string().optional(),
  shell: z.string().optional(),
  registered: z.boolean(),
  checked_at: z.string(),
  error: wireError.optional(),
  warnings: z.array(z.string()).optional(),
});
export type MachineCheck = z.infer<typeof machineCheck>;

export const stage = z.object({
  name: z.enum(['resolve', 'connect', 'probe', 'upload', 'init', 'start', 'tunnel', 'dial_in', 'canary']),
  status: z.enum(['running', 'done', 'skipped', 'failed']),
  duration_ms: z.number().optional(),
  detail: z.string().optional(),
});
export type Stage = z.infer<typeof stage>;

export const machineUpResult = z.object({
  machine: machineName,
  connection: z.enum(['local', 'tunnel', 'bridge', 'direct']),
  agent_version: z.string(),
  service: agentService.optional(),
  /** Nothing had to be uploaded or started. */
  already_up: z.boolean(),
  stages: z.array(stage),
  duration_ms: z.number(),
  warnings: z.array(z.string()),
});
export type MachineUpResult = z.infer<typeof machineUpResult>;

export const machineDownResult = z.object({
  machine: machineName,
  stopped: z.boolean(),
  /** Execs that go on without an agent; `machine up` adopts them. */
  running: z.array(execId),
  /** Execs that start when it is up again. */
  queued: z.array(execId).optional(),
  purged: z.boolean(),
});
export type MachineDownResult = z.infer<typeof machineDownResult>;

/** `command`: the line to paste on the machine. It has a token in it that works once, until `expires_at`. */
export const invited = z.object({ machine: machineName, command: z.string(), expires_at: z.string() });
export type Invited = z.infer<typeof invited>;

const tailBase64 = z.object({ from: z.number().int().nonnegative(), base64: z.string() });

/** An exec as the controller can answer for it now. */
export const execView = z.object({
  machine: machineName,
  machine_connected: z.boolean(),
  /** When the state was true at the machine; present when the machine is away. */
  as_of: z.string().optional(),
  ssh_ok: z.boolean().nullable(),
  ssh_checked_at: z.string().optional(),
  state: execState,
  stdout_tail: tailBase64.optional(),
  stderr_tail: tailBase64.optional(),
});
export type ExecView = z.infer<typeof execView>;

export const startReply = z.object({ view: execView, attached: z.boolean() });
export type StartReply = z.infer<typeof startReply>;

export const queuesRequest = z.strictObject({ concurrency: queueSettings });
export const queuesReply = z.object({ queues: z.array(queueView) });
export type QueuesReply = z.infer<typeof queuesReply>;

export const cancelRequest = z.strictObject({ signal: signalName, grace_ms: z.number().int().nonnegative() });
export const cancelReply = z.object({
  view: execView,
  already_finished: z.boolean(),
  leftover_pids: z.array(z.number().int()),
});
export type CancelReply = z.infer<typeof cancelReply>;

export const logsQuery = logSelection;

/** Characters of a token's label. */
const maxTokenLabel = 200;

export const tokenCreate = z.strictObject({
  scopes: z.array(z.string().max(100)).min(1).max(100),
  /** It is limited to these, where a scope is about machines. */
  machines: z.array(machineName).min(1).max(1000).optional(),
  /** From now; `none` never ends. Absent: the default. */
  ttl_ms: z.union([z.number().int().positive(), z.literal('none')]).optional(),
  label: z.string().max(maxTokenLabel).optional(),
});
export type TokenCreate = z.infer<typeof tokenCreate>;

export const tokenView = z.object({
  id: z.string(),
  label: z.string().optional(),
  scopes: z.array(z.string()),
  machines: z.array(machineName).optional(),
  created_at: z.string(),
  /** Who made it: `uid:1000`, or `token:ID`. */
  created_by: z.string(),
  /** Absent: it never ends by itself. */
  expires_at: z.string().optional(),
  last_used_at: z.string().optional(),
  /** The address that used it last. */
  last_used_from: z.string().optional(),
  revoked_at: z.string().optional(),
  status: z.enum(['active', 'expired', 'revoked']),
});
export type TokenView = z.infer<typeof tokenView>;

/** The only time that a secret is shown: all that the other side needs. */
export const issuedToken = tokenView.extend({
  /** `id.secret` */
  token: z.string(),
  url: z.string(),
  /** SHA-256 of the keys that the controller's certificate may have, base64. */
  spki_sha256: z.array(z.string()).min(1),
  /** PEM, trusted as they are. */
  certificates: z.array(z.string()).min(1),
});
export type IssuedToken = z.infer<typeof issuedToken>;
