import {
  type Channel,
  decodeError,
  decodeFrame,
  defaultWireLimits,
  encodeFrame,
  encodeMessage,
  type Frame,
  Session,
  type Side,
  type WireLimits,
} from '../../src/wire/index.ts';
import { FakeClock, settle } from './fake-clock.ts';
import { type PipeEnd, pipe } from './pipe.ts';

/**
 * A session under test and, at the other end of a pipe, a peer that is written frame by frame: it can break every rule.
 * By default the session is the agent's and accepts channels into `accepted`.
 */
export class RawPeer {
  readonly clock = new FakeClock();
  readonly session: Session;
  readonly end: PipeEnd;
  readonly sessionEnd: PipeEnd;
  readonly accepted: { channel: Channel; verb: string; params: unknown }[] = [];
  readonly received: Frame[] = [];
  readonly limits: WireLimits;

  constructor(options: { side?: Side; limits?: WireLimits; accepts?: boolean } = {}) {
    const { agentEnd, controllerEnd } = pipe();
    this.limits = options.limits ?? defaultWireLimits;
    this.end = controllerEnd;
    this.sessionEnd = agentEnd;
    controllerEnd.attach({
      frame: (bytes) => this.received.push(decodeFrame(bytes, this.limits)),
      activity() {},
      drained() {},
      closed() {},
    });
    this.session = new Session({
      transport: agentEnd,
      side: options.side ?? 'agent',
      clock: this.clock,
      limits: this.limits,
      ...(options.accepts === false
        ? {}
        : { accept: (channel, verb, params) => void this.accepted.push({ channel, verb, params }) }),
    });
  }

  /** Sends and lets the session handle it. */
  async send(...frames: (Frame | Uint8Array)[]): Promise<void> {
    for (const frame of frames) this.end.send(frame instanceof Uint8Array ? frame : encodeFrame(frame));
    await settle();
  }

  async open(id: number, verb = 'test', params: unknown = {}): Promise<Channel> {
    await this.send({ kind: 'open', channel: id, payload: encodeMessage({ verb, params }) });
    const last = this.accepted.at(-1);
    if (!last || last.channel.id !== id) throw new Error(`channel ${id} was not accepted`);
    return last.channel;
  }

  of<K extends Frame['kind']>(kind: K): Extract<Frame, { kind: K }>[] {
    return this.received.filter((frame): frame is Extract<Frame, { kind: K }> => frame.kind === kind);
  }

  /** What the session said when it ended, as it went over the wire. */
  goaway(): { code: string; facts: unknown } | undefined {
    const frame = this.of('goaway')[0];
    if (!frame) return undefined;
    const error = decodeError(frame.payload, this.limits);
    return { code: error.code, facts: error.details.facts };
  }

  resets(): { channel: number; code: string }[] {
    return this.of('reset').map((frame) => ({
      channel: frame.channel,
      code: decodeError(frame.payload, this.limits).code,
    }));
  }
}
