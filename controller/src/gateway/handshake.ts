import { randomBytes } from 'node:crypto';
import { type Identity, newId, verifySignature, type WsTransport } from '@codex-remote/platform';
import {
  agreeOnVersion,
  belowFloor,
  type Challenge,
  floorAfter,
  type Hello,
  hello,
  ownCapabilities,
  parseHelloFrame,
  proof,
  protocolVersion,
  type TransportKind,
  transcript,
  type VersionRange,
} from '@codex-remote/protocol/schema';
import { type Clock, defaultWireLimits, RemoteError } from '@codex-remote/protocol/wire';
import { stranger } from './stranger.ts';

export interface HandshakeOptions {
  readonly identity: Identity;
  readonly clock: Clock;
  readonly transportKind: TransportKind;
  readonly exporter: Uint8Array;
  /** What we speak; another range is a test's. */
  readonly versions?: VersionRange;
  /** What a stranger says of itself, before anything of it is proven. */
  readonly heard?: (hello: Hello) => void;
  /** The agent key that the registry has for a machine name. */
  readonly keyOf: (machine: string) => string | undefined;
  /**
   * What a token in the proof is worth; absent = nothing. Throws `unauthorized`. It is used up after `admit`, and the
   * agent's key is the machine's then.
   */
  readonly claim?: (hello: Hello, token: string) => Promise<{ consume(): Promise<void> }>;
  /** Last word before the welcome, once the agent is proven. Throws to refuse. */
  readonly admit: (hello: Hello) => void | Promise<void>;
  readonly floors?: ProtocolFloors;
}

/** The lowest protocol that is spoken to a machine, by what its agents have spoken before. `raise` is durable when it resolves. */
export interface ProtocolFloors {
  of(machine: string): number;
  raise(machine: string, floor: number): Promise<void>;
}

/**
 * The controller's half of the handshake (docs/protocol.md, "Handshake"). Until the proof holds it answers the same,
 * whatever name or key was said: who is registered is not told to strangers. On any failure the peer gets one `refused`
 * frame, the socket is destroyed, and this rejects.
 */
export async function greetAgent(transport: WsTransport, options: HandshakeOptions): Promise<Hello> {
  const deadline = options.clock.setTimer(defaultWireLimits.handshakeMs, () => transport.destroy());
  try {
    const agent = parseHelloFrame(hello, await transport.receiveText());
    options.heard?.(agent);
    const version = agreeOnVersion(agent.versions, options.versions ?? protocolVersion);
    const ours: Challenge = {
      type: 'challenge',
      version,
      controller_key: options.identity.publicKey,
      controller_nonce: randomBytes(32).toString('base64url'),
      capabilities: [...ownCapabilities],
    };
    transport.sendText(JSON.stringify(ours));
    const answer = parseHelloFrame(proof, await transport.receiveText());
    const sign = (role: 'agent' | 'controller') =>
      transcript(role, agent, ours, options.transportKind, options.exporter);
    const { join_token } = answer;
    const enrolled = (): boolean => options.keyOf(agent.machine) === agent.agent_key;
    if (!verifySignature(agent.agent_key, sign('agent'), answer.signature)) throw stranger();
    const claim = join_token === undefined ? undefined : await options.claim?.(agent, join_token);
    if (!claim && (join_token !== undefined || !enrolled())) throw stranger();
    const floor = options.floors?.of(agent.machine) ?? 1;
    if (version < floor) throw belowFloor(version, floor, 'its agent');
    await options.admit(agent);
    await claim?.consume();
    if (floorAfter(version) > floor) await options.floors?.raise(agent.machine, floorAfter(version));
    // The machine may have been removed while others were asked.
    if (!enrolled()) throw stranger();
    transport.sendText(
      JSON.stringify({
        type: 'welcome',
        signature: options.identity.sign(sign('controller')),
        session_id: newId(options.clock.wall()),
      }),
    );
    return agent;
  } catch (error) {
    const refusal = RemoteError.from(error);
    transport.sendText(
      JSON.stringify({ type: 'refused', code: refusal.code, message: refusal.message.slice(0, 256) }),
    );
    transport.close(refusal.kind.close ?? 1008, refusal.code);
    transport.destroySoon();
    throw refusal;
  } finally {
    deadline.cancel();
  }
}
