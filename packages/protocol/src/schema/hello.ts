import { z } from 'zod';
import { RemoteError } from '../wire/errors.ts';
import { machineName } from './names.ts';

/**
 * The first frames of a connection, each one JSON text of at most `maxHelloBytes`, in this order:
 *   agent      -> hello
 *   controller -> challenge
 *   agent      -> proof      (signature over the transcript, role "agent")
 *   controller -> welcome    (signature over the transcript, role "controller") or refused
 * The controller reveals nothing and does no work for an agent before `proof` holds; the agent serves no request before
 * `welcome` holds.
 */
export const protocolVersion: VersionRange = { current: 1, oldest: 1 };

/** Protocol versions that a side speaks, both ends included. A release speaks its own and the one before. */
export interface VersionRange {
  readonly oldest: number;
  readonly current: number;
}

/** The version to speak: the highest that both know. Throws `agent_outdated`, which says which of the two is the older. */
export function agreeOnVersion(agent: VersionRange, controller: VersionRange): number {
  const version = Math.min(agent.current, controller.current);
  if (version >= agent.oldest && version >= controller.oldest) return version;
  const speaks = ({ oldest, current }: VersionRange): string =>
    oldest === current ? `${current}` : `${oldest} to ${current}`;
  throw new RemoteError(
    'agent_outdated',
    agent.current < controller.oldest
      ? `the agent speaks protocol ${speaks(agent)}, this controller ${speaks(controller)}`
      : `the agent is newer than this controller: it speaks protocol ${speaks(agent)}, the controller ${speaks(controller)}`,
    { sent: 'no' },
  );
}

/**
 * What a peer that has spoken `version` need never go below again: its release speaks that and the one before, and so does the
 * release before it, to which it may be rolled back.
 */
export function floorAfter(version: number): number {
  return Math.max(1, version - 1);
}

/** Of a peer that offers less than it once did. */
export function belowFloor(version: number, floor: number, whose: string): RemoteError {
  return new RemoteError(
    'agent_outdated',
    `protocol ${version} is below what ${whose} has spoken before (${floor}): it is not taken back by a connection`,
    { hint: '`codex-remote machine up` makes a new beginning', sent: 'no' },
  );
}

const base64url = z.string().regex(/^[A-Za-z0-9_-]*$/);
const key = base64url.length(43);
const nonce = base64url.length(43);

/** No comma in it: the transcript joins them by commas. */
const capabilities = z.array(z.string().regex(/^[a-z0-9._-]{1,32}$/)).max(32);

/**
 * Optional parts of the protocol that this build knows. A request that needs one is not sent to an agent that has not
 * named it: `agent_outdated`.
 *
 *   queues      `queue`, `after` and `after_any` of an ExecSpec; `queues.get`, `queues.set`
 *   log_limit   `log_limit_bytes` and `log_limit_action` of an ExecSpec
 *   trust       `trust.set`
 *   files       `file.stat`, `file.list`, `file.read`, `file.write`, `file.remove`, `file.mkdir`
 *   policy      `policy.get`, `policy.set`: it enforces a policy of its own
 *   artifacts   `artifacts` of an ExecSpec; `artifact.list`, `artifact.read`
 *   git         `worktree` of an ExecSpec; `git.have`, `git.receive`, `git.fetch`, `git.remove`
 *   sync2       `sync.push`, `sync.pull`; what was `sync` had SHA-256 for a MAC, and is spoken no more
 */
export const ownCapabilities = [
  'queues',
  'log_limit',
  'trust',
  'files',
  'policy',
  'git',
  'sync2',
  'artifacts',
] as const;
export type Capability = (typeof ownCapabilities)[number];

export const transportKind = z.enum(['unix', 'wss', 'ws']);
export type TransportKind = z.infer<typeof transportKind>;

/** Label of the TLS exporter (RFC 8446 section 7.5), without a context, whose 32 bytes the transcript has. */
export const exporterLabel = 'EXPORTER-codex-remote-session-auth';

/** Unknown fields are passed over, here and in what follows: the transcript covers those that both know. */
export const hello = z.object({
  type: z.literal('hello'),
  versions: z.object({ oldest: z.number().int().positive(), current: z.number().int().positive() }),
  machine: machineName,
  agent_key: key,
  agent_nonce: nonce,
  host_id: z.string().max(64),
  boot_id: z.string().max(64),
  /** New per agent start, time-ordered: the higher one fences the lower. */
  instance_id: z.string().max(64),
  agent_version: z.string().max(64),
  capabilities,
});
export type Hello = z.infer<typeof hello>;

export const challenge = z.object({
  type: z.literal('challenge'),
  version: z.number().int().positive(),
  controller_key: key,
  controller_nonce: nonce,
  capabilities,
});
export type Challenge = z.infer<typeof challenge>;

export const proof = z.object({
  type: z.literal('proof'),
  signature: base64url.max(128),
  /** `id.secret` of an invitation; over TLS only, to a controller that has shown the key we were given. */
  join_token: z.string().max(128).optional(),
});
export type Proof = z.infer<typeof proof>;

export const welcome = z.object({
  type: z.literal('welcome'),
  signature: base64url.max(128),
  session_id: z.string().max(64),
});
export type Welcome = z.infer<typeof welcome>;

export const refused = z.object({
  type: z.literal('refused'),
  code: z.string().max(64),
  message: z.string().max(512),
});

/** One frame of the handshake. Throws `protocol_error`. */
export function parseHelloFrame<T>(schema: z.ZodType<T>, text: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new RemoteError('protocol_error', 'a hello frame is not JSON', {}, error);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new RemoteError('protocol_error', 'a hello frame has not the expected shape');
  return parsed.data;
}

/**
 * What both sides sign: domain, role, then every field of hello and challenge, the transport's kind and the TLS exporter
 * (empty without TLS), each with its length before it, so that no two transcripts have the same bytes.
 */
export function transcript(
  role: 'agent' | 'controller',
  agent: Hello,
  controller: Challenge,
  transport: TransportKind,
  exporter: Uint8Array,
): Uint8Array {
  const utf8 = new TextEncoder();
  const words = [
    'codex-remote/session-auth/v1',
    role,
    transport,
    agent.versions.oldest,
    agent.versions.current,
    agent.machine,
    agent.agent_key,
    agent.agent_nonce,
    agent.host_id,
    agent.boot_id,
    agent.instance_id,
    agent.agent_version,
    agent.capabilities.join(','),
    controller.version,
    controller.controller_key,
    controller.controller_nonce,
    controller.capabilities.join(','),
  ];
  const fields: Uint8Array[] = [...words.map((word) => utf8.encode(String(word))), exporter];
  const bytes = new Uint8Array(fields.reduce((sum, field) => sum + 4 + field.byteLength, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const field of fields) {
    view.setUint32(at, field.byteLength);
    bytes.set(field, at + 4);
    at += 4 + field.byteLength;
  }
  return bytes;
}
