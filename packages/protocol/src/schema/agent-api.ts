import { z } from 'zod';
import { artifactVerbs } from './artifacts.ts';
import { diffVerbs } from './diff.ts';
import { execReport, execState, logSelection, signalName } from './exec.ts';
import {
  fileInfo,
  fileMode,
  fileRemoved,
  fileVersion,
  fileWritten,
  folderMade,
  listCursor,
  maxListEntries,
  remotePath,
  writeParams,
} from './files.ts';
import { gitVerbs } from './git.ts';
import { execId, machineName, queueName } from './names.ts';
import { machinePolicy } from './policy.ts';
import { syncVerbs } from './sync.ts';

/** How many execs of a queue that nobody has set run at once. */
export const defaultConcurrency = 1;

/** A queue of a machine: how many of its execs may run at once, how many do, and how many wait. */
export const queueView = z.object({
  queue: queueName,
  /** 0: nothing more is started. */
  concurrency: z.number().int().nonnegative(),
  running: z.number().int().nonnegative(),
  queued: z.number().int().nonnegative(),
});
export type QueueView = z.infer<typeof queueView>;

/** Queue to concurrency. The numbers bound what one request can ask of an agent. */
export const queueSettings = z
  .record(queueName, z.number().int().min(0).max(10_000))
  .refine((settings) => Object.keys(settings).length <= 256, 'at most 256 queues');
export type QueueSettings = z.infer<typeof queueSettings>;

/**
 * Requests from controller to agent, the only direction there is. Each is one channel:
 * OPEN(verb, params), then what `shape` says, then END from both sides, or RESET with an error.
 *
 *   call      the agent sends one MESSAGE, the reply
 *   upload    the controller first sends DATA (records), END; then the agent's reply
 *   records   the agent sends DATA (records) until END
 *   exchange  both send DATA (records) at once, each until its END
 *   events    MESSAGEs both ways for as long as the session lasts
 */
export const agentVerbs = {
  /** Who and what the machine is. */
  'agent.info': {
    shape: 'call',
    params: z.strictObject({}),
    reply: z.object({
      agent_version: z.string(),
      pid: z.number().int(),
      shell: z.string(),
      home: z.string(),
      user: z.string(),
      os: z.string(),
      arch: z.string(),
      hostname: z.string(),
      running: z.number().int(),
      rss_bytes: z.number().int(),
      environment: z.enum(['login', 'plain']),
    }),
  },
  /** Ends the agent process; running execs go on. The reply comes first. */
  'agent.stop': { shape: 'call', params: z.strictObject({}), reply: z.object({ running: z.array(execId) }) },
  /** Body: records of streams spec (JSON of ExecSpec), script, stdin, in this order. Idempotent by exec_id and digest. */
  'exec.start': {
    shape: 'upload',
    params: z.strictObject({ exec_id: execId }),
    reply: z.object({ state: execState, attached: z.boolean() }),
  },
  'exec.get': {
    shape: 'call',
    params: z.strictObject({ exec_id: execId, tail_bytes: z.number().int().nonnegative() }),
    reply: execReport,
  },
  /** Data, time and gap records in offset order per stream; last an event record `{ended: ExecState | null}`. */
  'exec.logs': {
    shape: 'records',
    params: z.strictObject({ exec_id: execId, select: logSelection }),
    reply: z.never(),
  },
  /** Replies when the processes are gone or what is left is known. */
  'exec.cancel': {
    shape: 'call',
    params: z.strictObject({ exec_id: execId, signal: signalName, grace_ms: z.number().int().nonnegative() }),
    reply: z.object({
      state: execState,
      already_finished: z.boolean(),
      leftover_pids: z.array(z.number().int()),
    }),
  },
  /** Every queue that is set or in use, by name. */
  'queues.get': {
    shape: 'call',
    params: z.strictObject({}),
    reply: z.object({ queues: z.array(queueView) }),
  },
  /** Sets these queues and leaves the others; durable when it replies. */
  'queues.set': {
    shape: 'call',
    params: z.strictObject({ concurrency: queueSettings }),
    reply: z.object({ queues: z.array(queueView) }),
  },
  /** The name itself: a symbolic link is not followed. `sha256`: of a regular file, its content is read for it. */
  'file.stat': {
    shape: 'call',
    params: z.strictObject({ path: remotePath, sha256: z.boolean() }),
    reply: fileInfo,
  },
  /** Event records: pages of entries in the order of their bytes, those behind `cursor`, then the end. */
  'file.list': {
    shape: 'records',
    params: z.strictObject({
      path: remotePath,
      limit: z.number().int().min(1).max(maxListEntries),
      cursor: listCursor.optional(),
    }),
    reply: z.never(),
  },
  /** An event record of the file, data records of stream `content` from `from` on, an event record of the end. */
  'file.read': {
    shape: 'records',
    params: z.strictObject({
      path: remotePath,
      from: z.number().int().nonnegative(),
      max_bytes: z.number().int().nonnegative().optional(),
      /** `file_changed` when it is not this one any more. */
      version: fileVersion.optional(),
    }),
    reply: z.never(),
  },
  /**
   * What the agent is to know its controller by on the endpoints of kind `wss` that it has, in place of what it knew: PEM,
   * and pins of their keys. Durable when it replies; `endpoints` says how many there are.
   */
  'trust.set': {
    shape: 'call',
    params: z.strictObject({
      certificates: z.array(z.string().max(4096)).min(1).max(3),
      spki_sha256: z.array(z.string().length(44)).min(1).max(3),
    }),
    reply: z.object({ endpoints: z.number().int().nonnegative() }),
  },
  /** What the machine lets start. */
  'policy.get': { shape: 'call', params: z.strictObject({}), reply: z.object({ policy: machinePolicy }) },
  /** Durable when it replies. Only narrows; `applied: false` where it would let more start: that is for who is on the machine. */
  'policy.set': {
    shape: 'call',
    params: z.strictObject({ policy: machinePolicy }),
    reply: z.object({ policy: machinePolicy, applied: z.boolean() }),
  },
  /**
   * Body: data records of stream `content`, last a `writeTrailer`. Whole or not at all, durable when it replies, and done once
   * however often it is sent under its `write_id`.
   */
  'file.write': { shape: 'upload', params: writeParams, reply: fileWritten },
  /** A symbolic link itself; a directory that is not empty only with `recursive`. */
  'file.remove': {
    shape: 'call',
    params: z.strictObject({ path: remotePath, recursive: z.boolean() }),
    reply: fileRemoved,
  },
  'file.mkdir': {
    shape: 'call',
    params: z.strictObject({ path: remotePath, parents: z.boolean(), mode: fileMode.optional() }),
    reply: folderMade,
  },
  ...gitVerbs,
  ...syncVerbs,
  ...artifactVerbs,
  ...diffVerbs,
  /**
   * Agent: `{reports: ExecReport[]}` first for every running and every not yet acknowledged exec, in pages, then
   * `{snapshot_done: true}`, then each change as it happens. Controller: `{ack: [exec_id]}` once an ended exec is in its history.
   */
  'exec.reports': { shape: 'events', params: z.strictObject({}), reply: z.never() },
} as const;

export type AgentVerb = keyof typeof agentVerbs;
export type VerbParams<V extends AgentVerb> = z.input<(typeof agentVerbs)[V]['params']>;
export type VerbReply<V extends AgentVerb> = z.output<(typeof agentVerbs)[V]['reply']>;

export const reportsFromAgent = z.union([
  z.object({ reports: z.array(execReport) }),
  z.object({ snapshot_done: z.literal(true) }),
]);
export const reportsFromController = z.object({ ack: z.array(execId) });

/**
 * `certificates`: PEM, trusted as they are; `spki_sha256`: base64 pins of their keys, compared on every connection. `proxy`:
 * `http://[user:password@]host:port`, through which it is dialled.
 */
export const directEndpoint = z.object({
  kind: z.literal('wss'),
  url: z.string(),
  certificates: z.array(z.string()),
  spki_sha256: z.array(z.string()),
  proxy: z.string().optional(),
});
export type DirectEndpoint = z.infer<typeof directEndpoint>;

/** `config.json` in the agent's home; written by `agent init`, 0600. */
export const agentEndpoint = z.discriminatedUnion('kind', [
  /** Newest `t-*.sock` in `dir`: tunnels and bridges of the controller. */
  z.object({ kind: z.literal('tunnel'), dir: z.string() }),
  z.object({ kind: z.literal('unix'), path: z.string() }),
  directEndpoint,
  /** Loopback only, for tests. */
  z.object({ kind: z.literal('ws'), url: z.string() }),
]);
export type AgentEndpoint = z.infer<typeof agentEndpoint>;

export const agentConfig = z.object({
  version: z.literal(1),
  machine: machineName,
  controller_id: z.string(),
  /** Ed25519 public key, raw 32 bytes, base64url. */
  controller_key: z.string(),
  host_id: z.string(),
  endpoints: z.array(agentEndpoint),
});
export type AgentConfig = z.infer<typeof agentConfig>;
