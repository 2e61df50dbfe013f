import { encodeEnd, encodeWithPayload, writeFrameHeader } from './encode.ts';
import { RemoteError } from './errors.ts';
import { Fifo } from './fifo.ts';
import { frameKind } from './frame.ts';
import { frameHeaderBytes, type WireLimits } from './limits.ts';
import { SendWindow } from './window.ts';

/** Can the next frame go: `urgent` ones (OPEN, MESSAGE, END) are not held by the session-wide limit, `bulk` (DATA) is. */
export type Readiness = 'urgent' | 'bulk' | 'none';

type Item = { settle: Settle | undefined } & (
  | { kind: 'open' | 'message' | 'frame' | 'end'; frame: Uint8Array }
  /** Cut into frames when its turn comes; `at` is how far it has gone. */
  | { kind: 'bytes'; bytes: Uint8Array; at: number }
);

interface Settle {
  resolve(): void;
  reject(error: RemoteError): void;
}

const done: Promise<void> = Promise.resolve();

/**
 * What one channel has still to send, in order, and its credit. Nothing is copied before its frame is due, so what waits
 * here is held by the callers that wait.
 */
export class Outbox {
  readonly #id: number;
  readonly #limits: WireLimits;
  readonly #window: SendWindow;
  readonly #queue = new Fifo<Item>();
  /** Called when something was queued or allowed: the writer looks at `readiness`. */
  readonly #ready: () => void;
  readonly #endSent: () => void;
  #opened: boolean;
  #failure: RemoteError | undefined;
  /** The writer's note: in which of its rings this outbox waits. */
  ring: Readiness = 'none';

  constructor(id: number, limits: WireLimits, opened: boolean, ready: () => void, endSent: () => void) {
    this.#id = id;
    this.#limits = limits;
    this.#window = new SendWindow(limits);
    this.#opened = opened;
    this.#ready = ready;
    this.#endSent = endSent;
  }

  /** The peer knows of the channel: its OPEN came, or ours has gone out. */
  get opened(): boolean {
    return this.#opened;
  }

  get credit(): number {
    return this.#window.credit;
  }

  get readiness(): Readiness {
    const item = this.#queue.peek();
    if (!item || cost(item, this.#limits) > this.#window.credit) return 'none';
    return item.kind === 'bytes' || item.kind === 'frame' ? 'bulk' : 'urgent';
  }

  open(payload: Uint8Array): void {
    void this.#push({
      kind: 'open',
      frame: encodeWithPayload(frameKind.open, this.#id, payload),
      settle: undefined,
    });
  }

  message(payload: Uint8Array): Promise<void> {
    return this.#push({
      kind: 'message',
      frame: encodeWithPayload(frameKind.message, this.#id, payload),
      settle: undefined,
    });
  }

  bytes(bytes: Uint8Array): Promise<void> {
    return this.#push({ kind: 'bytes', bytes, at: 0, settle: undefined });
  }

  frame(frame: Uint8Array): Promise<void> {
    writeFrameHeader(frame, frameKind.data, this.#id);
    return this.#push({ kind: 'frame', frame, settle: undefined });
  }

  end(): void {
    void this.#push({ kind: 'end', frame: encodeEnd(this.#id), settle: undefined });
  }

  grant(credit: number): void {
    this.#window.grant(credit);
    this.#ready();
  }

  /** The next frame. The writer has seen a `readiness` other than none. */
  take(): Uint8Array {
    const item = this.#queue.peek();
    if (!item) throw new RemoteError('internal', 'a frame was taken from an empty outbox');
    this.#window.spend(cost(item, this.#limits));
    if (item.kind === 'bytes') return this.#cut(item);
    this.#finish(item);
    if (item.kind === 'open') this.#opened = true;
    if (item.kind === 'end') this.#endSent();
    return item.frame;
  }

  /** The channel or session is over: who waits gets the error, and so does who writes later. */
  fail(error: RemoteError): void {
    this.#failure ??= error;
    for (const item of this.#queue.clear()) item.settle?.reject(error);
  }

  #cut(item: Extract<Item, { kind: 'bytes' }>): Uint8Array {
    const size = cost(item, this.#limits);
    const payload = item.bytes.subarray(item.at, item.at + size);
    item.at += size;
    if (item.at === item.bytes.byteLength) this.#finish(item);
    return encodeWithPayload(frameKind.data, this.#id, payload);
  }

  #finish(item: Item): void {
    this.#queue.shift();
    item.settle?.resolve();
  }

  /**
   * Resolves when the writer has handed the last of the item to the transport. Most often that is at once, and then
   * nothing is allocated. A rejection that nobody listens to is harmless: the channel's reader hears of it too.
   */
  #push(item: Item): Promise<void> {
    if (this.#failure) return rejected(this.#failure);
    this.#queue.push(item);
    this.#ready();
    // In order: the item has gone when the queue is empty.
    if (this.#queue.length === 0) return this.#failure ? rejected(this.#failure) : done;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    item.settle = { resolve, reject };
    promise.catch(() => {});
    return promise;
  }
}

/** Credit that the next frame of the item needs. */
function cost(item: Item, limits: WireLimits): number {
  switch (item.kind) {
    case 'message':
    case 'frame':
      return item.frame.byteLength - frameHeaderBytes;
    case 'bytes':
      return Math.min(item.bytes.byteLength - item.at, limits.maxFrameBytes - frameHeaderBytes);
    case 'open':
    case 'end':
      return 0;
  }
}

function rejected(error: RemoteError): Promise<void> {
  const promise = Promise.reject(error);
  promise.catch(() => {});
  return promise;
}
