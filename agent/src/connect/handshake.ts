import { randomBytes } from 'node:crypto';
import { type Identity, verifySignature } from '@codex-remote/platform';
import {
  type AgentConfig,
  belowFloor,
  challenge,
  floorAfter,
  type Hello,
  ownCapabilities,
  type Proof,
  parseHelloFrame,
  protocolVersion,
  refused,
  transcript,
  type VersionRange,
  welcome,
} from '@codex-remote/protocol/schema';
import { type Clock, defaultWireLimits, isErrorCode, RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import type { Dialled } from './dial.ts';
import type { JoinTokenFile } from './join-token-file.ts';
import type { ProtocolFloor } from './protocol-floor.ts';

/** What this process says of itself in every hello. */
export interface AgentSelf {
  readonly config: AgentConfig;
  readonly identity: Identity;
  readonly bootId: string;
  /** New per start of the process, time-ordered. */
  readonly instanceId: string;
  readonly version: string;
  /** The token of an invitation, until the first welcome. */
  readonly joinToken?: JoinTokenFile;
  /** Below it we go with nobody who proves our controller's key. */
  readonly floor?: ProtocolFloor;
  /** What we speak; another range is a test's. */
  readonly versions?: VersionRange;
}

/**
 * The agent's half of the handshake (docs/protocol.md, "Handshake"). Resolves when both sides are proven; otherwise the
 * connection is destroyed and it rejects: `unauthorized`, `agent_outdated`, `duplicate_agent`, `handshake_timeout`,
 * `protocol_error` or `connection_reset`.
 */
export async function greetController(dialled: Dialled, self: AgentSelf, clock: Clock): Promise<void> {
  const { transport } = dialled;
  const own = self.versions ?? protocolVersion;
  const deadline = clock.setTimer(defaultWireLimits.handshakeMs, () => transport.destroy());
  try {
    const floor = self.floor?.read() ?? 1;
    if (floor > own.current) throw belowFloor(own.current, floor, 'its controller');
    const versions = { oldest: Math.max(own.oldest, floor), current: own.current };
    const hello: Hello = {
      type: 'hello',
      versions,
      machine: self.config.machine,
      agent_key: self.identity.publicKey,
      agent_nonce: randomBytes(32).toString('base64url'),
      host_id: self.config.host_id,
      boot_id: self.bootId,
      instance_id: self.instanceId,
      agent_version: self.version,
      capabilities: [...ownCapabilities],
    };
    transport.sendText(JSON.stringify(hello));
    const answer = parseAnswer(challenge, await transport.receiveText());
    if (answer.controller_key !== self.config.controller_key) {
      throw new RemoteError(
        'unauthorized',
        'unauthorized: this is not the controller that the agent belongs to',
        {
          hint: 'run `codex-remote machine up` from the new controller',
        },
      );
    }
    if (answer.version < versions.oldest || answer.version > versions.current) {
      throw new RemoteError(
        'agent_outdated',
        `the controller chose protocol ${answer.version}, which was not offered`,
      );
    }
    const sign = (role: 'agent' | 'controller') =>
      transcript(role, hello, answer, dialled.kind, dialled.exporter);
    // The controller has shown the key we were given, on a connection whose exporter the signature covers: nobody else reads it.
    const token = dialled.kind === 'wss' ? self.joinToken?.read() : undefined;
    const proof: Proof = {
      type: 'proof',
      signature: self.identity.sign(sign('agent')),
      ...(token === undefined ? {} : { join_token: token }),
    };
    transport.sendText(JSON.stringify(proof));
    const last = parseAnswer(welcome, await transport.receiveText());
    if (!verifySignature(self.config.controller_key, sign('controller'), last.signature)) {
      throw new RemoteError('unauthorized', 'unauthorized: the controller did not prove its key');
    }
    self.floor?.raise(floorAfter(answer.version));
    if (token !== undefined) self.joinToken?.erase();
  } catch (error) {
    transport.destroy();
    throw error;
  } finally {
    deadline.cancel();
  }
}

/** A refusal may come in place of either answer. */
function parseAnswer<T>(schema: z.ZodType<T>, text: string): T {
  const answer = parseHelloFrame(z.union([refused, schema]), text);
  const refusal = refused.safeParse(answer);
  if (!refusal.success) return schema.parse(answer);
  const code = isErrorCode(refusal.data.code) ? refusal.data.code : 'unauthorized';
  throw new RemoteError(code, refusal.data.message);
}
