import { ChannelLife } from '../../src/wire/channel.ts';
import {
  type Channel,
  call,
  encodeRecord,
  RecordParser,
  RemoteError,
  Session,
  streamId,
} from '../../src/wire/index.ts';
import { FakeClock } from './fake-clock.ts';
import { smallLimits } from './limits.ts';
import { Link } from './link.ts';
import { pattern, readAll } from './two-sessions.ts';

/** One connection: both sessions on it, and every channel that both know, by id. */
interface Connection {
  link: Link;
  agent: Session;
  controller: Session;
  channels: Map<number, { ours: ChannelLife; theirs?: ChannelLife }>;
}

/**
 * A machine and a controller over links that break. The agent dials again when its session ends; a newer connection
 * fences the older. What runs on top is what the real programs do: calls, uploads, and reading by position.
 */
export class World {
  readonly clock = new FakeClock();
  readonly violations: string[] = [];
  readonly #random: () => number;
  readonly #streamBytes: number;
  readonly connections: Connection[] = [];
  serving = 0;
  #stopped = false;
  #waiters: ((session: Session) => void)[] = [];

  constructor(seed: number, streamBytes: number) {
    this.#random = seeded(seed);
    this.#streamBytes = streamBytes;
  }

  get current(): Connection | undefined {
    const last = this.connections.at(-1);
    return last && !last.controller.ended ? last : undefined;
  }

  /** A new connection; the controller fences the one before. */
  dial(): void {
    if (this.#stopped) return;
    const base = 1 + Math.floor(this.#random() * 40);
    const jitter = Math.floor(this.#random() * 30);
    const link = new Link(this.clock, {
      delayMs: () => base + Math.floor(this.#random() * jitter),
      bytesPerMs: 10 + Math.floor(this.#random() * 2000),
    });
    const channels: Connection['channels'] = new Map();
    const agent = new Session({
      transport: link.a,
      side: 'agent',
      clock: this.clock,
      limits: smallLimits,
      accept: (channel, verb, params) => this.#serve(channels, channel, verb, params),
    });
    const controller = new Session({
      transport: link.b,
      side: 'controller',
      clock: this.clock,
      limits: smallLimits,
    });
    const older = this.connections.at(-1);
    this.connections.push({ link, agent, controller, channels });
    older?.controller.end(
      new RemoteError('session_replaced', 'a newer connection of the same machine took over'),
    );
    for (const waiter of this.#waiters.splice(0)) waiter(controller);
    void agent.closed.then(() => {
      const isNewest = this.connections.at(-1)?.agent === agent;
      if (isNewest) this.clock.setTimer(1 + this.#random() * 100, () => this.#redial(agent));
    });
  }

  stop(): void {
    this.#stopped = true;
    for (const { agent, controller } of this.connections) {
      agent.end();
      controller.end();
    }
  }

  open(session: Session, verb: string, params: unknown): Channel {
    const channel = session.open(verb, params);
    const connection = this.connections.find(({ controller }) => controller === session);
    if (channel instanceof ChannelLife) connection?.channels.set(channel.id, { ours: channel });
    return channel;
  }

  /** Reads a stream from 0 to its end over as many connections as it takes. A gap or double is a violation. */
  async readStream(stream: number, pauseMs: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    let position = 0;
    for (;;) {
      const session = await this.#session();
      try {
        const channel = this.open(session, 'read', { stream, from: position });
        channel.end();
        const parser = new RecordParser();
        for await (const item of channel) {
          if (item.kind !== 'data') throw new Error('expected DATA');
          for (const record of parser.push(item.bytes)) {
            if (record.kind === 'event') return new Uint8Array(Buffer.concat(parts));
            if (record.kind !== 'data') throw new Error(`unexpected ${record.kind}`);
            if (record.offset !== position)
              this.violations.push(`stream ${stream}: at ${position} came ${record.offset}`);
            parts.push(record.bytes.slice());
            position += record.bytes.byteLength;
          }
          if (pauseMs > 0 && this.#random() < 0.3) await this.clock.sleep(this.#random() * pauseMs);
        }
        this.violations.push(`stream ${stream}: END without its last record`);
        return new Uint8Array(0);
      } catch (error) {
        if (!(error instanceof RemoteError)) throw error;
        if (!error.retryable) this.violations.push(`stream ${stream}: ${error.code} ${error.message}`);
      }
    }
  }

  /** One call on whatever session there is: its value, or the code of its error. */
  async ask(n: number, bodyBytes: number): Promise<number | string> {
    const session = await this.#session();
    try {
      const reply =
        bodyBytes > 0
          ? await call(session, 'upload', { n }, { body: inPieces(bodyBytes) })
          : await call(session, 'add', { n });
      return typeof reply === 'number' ? reply : `odd reply ${JSON.stringify(reply)}`;
    } catch (error) {
      return RemoteError.from(error).code;
    }
  }

  /**
   * Where nothing is under way, what one side may send is what the other has room for. Gives how many channels were
   * compared.
   */
  checkCredit(): number {
    const connection = this.current;
    if (!connection?.link.idle || connection.agent.ended) return 0;
    let compared = 0;
    for (const [id, { ours, theirs }] of connection.channels) {
      if (!theirs || ours.state === 'reset' || theirs.state === 'reset') continue;
      for (const [sender, receiver] of [
        [ours, theirs],
        [theirs, ours],
      ] as const) {
        if (sender.state === 'sent_end' || sender.state === 'closed') continue;
        compared++;
        if (sender.outbox.credit !== receiver.receiveCredit) {
          this.violations.push(
            `channel ${id}: credit ${sender.outbox.credit} against room of ${receiver.receiveCredit}`,
          );
        }
      }
    }
    return compared;
  }

  #redial(agent: Session): void {
    if (this.connections.at(-1)?.agent === agent) this.dial();
  }

  #session(): Promise<Session> {
    const session = this.current?.controller;
    if (session) return Promise.resolve(session);
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  async #serve(
    channels: Connection['channels'],
    channel: Channel,
    verb: string,
    params: unknown,
  ): Promise<void> {
    const known = channels.get(channel.id);
    if (known && channel instanceof ChannelLife) known.theirs = channel;
    this.serving++;
    try {
      await this.#answer(channel, verb, params as { n: number; stream: number; from: number });
    } catch (error) {
      if (!(error instanceof RemoteError)) this.violations.push(`serving ${verb}: ${String(error)}`);
    } finally {
      this.serving--;
    }
  }

  async #answer(
    channel: Channel,
    verb: string,
    params: { n: number; stream: number; from: number },
  ): Promise<void> {
    switch (verb) {
      case 'add':
        await this.clock.sleep(this.#random() * 50);
        await channel.send(params.n + 1);
        return channel.end();
      case 'upload': {
        const body = await readAll(channel);
        const exact = Buffer.compare(body, pattern(0, body.byteLength)) === 0;
        await channel.send(exact ? params.n + body.byteLength : 'damaged');
        return channel.end();
      }
      case 'read':
        return this.#stream(channel, params.stream, params.from);
      case 'hold':
        for (let message = 0; message < params.n; message++) await channel.send(pattern(0, 200));
        await channel.closed;
        return undefined;
      default:
        throw new RemoteError('unknown_verb', verb);
    }
  }

  async #stream(channel: Channel, stream: number, from: number): Promise<void> {
    let position = from;
    while (position < this.#streamBytes) {
      const length = Math.min(1 + Math.floor(this.#random() * 700), this.#streamBytes - position);
      const bytes = pattern(stream * 1_000_003 + position, length);
      await channel.write(encodeRecord({ kind: 'data', stream, offset: position, bytes }));
      position += length;
      if (this.#random() < 0.05) await this.clock.sleep(this.#random() * 20);
    }
    await channel.write(encodeRecord({ kind: 'event', value: { ended: true } }));
    channel.end();
  }

  expected(stream: number): Uint8Array {
    return pattern(stream * 1_000_003, this.#streamBytes);
  }
}

export const modelStreams = [streamId.stdout, streamId.stderr];

async function* inPieces(total: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < total; at += 700) yield pattern(at, Math.min(700, total - at));
}

/** mulberry32: enough randomness for delays, the same for the same seed. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
