import { Fifo } from './fifo.ts';
import { decodeScanned } from './message.ts';

/** What a consumer takes from a channel. `bytes` belong to the consumer; they may be a view into a larger buffer. */
export type Incoming = { kind: 'message'; value: unknown } | { kind: 'data'; bytes: Uint8Array };

/** `owned` bytes are a copy of ours with `length` bytes in use, to which the next small DATA can be added. */
type Entry =
  | { kind: 'message'; payload: Uint8Array }
  | { kind: 'data'; bytes: Uint8Array; length: number; owned: boolean };

/** Received payloads below this are copied when they have to wait: a view would hold the whole socket chunk. */
const copyBelowBytes = 16 * 1024;

/**
 * What was received on a channel and not yet taken, in order. Bounded by the window in bytes; DATA has no frame borders
 * for its reader, so small pieces are put together and a flood of tiny frames costs what its bytes cost.
 */
export class Inbox {
  readonly #entries = new Fifo<Entry>();
  #messages = 0;

  get messages(): number {
    return this.#messages;
  }

  /** `payload` has passed the pre-scan; it is decoded when it is taken, because decoded it would be larger. */
  pushMessage(payload: Uint8Array): void {
    this.#messages++;
    this.#entries.push({ kind: 'message', payload: new Uint8Array(payload) });
  }

  pushData(payload: Uint8Array): void {
    if (payload.byteLength >= copyBelowBytes) {
      this.#entries.push({ kind: 'data', bytes: payload, length: payload.byteLength, owned: false });
      return;
    }
    const last = this.#entries.last();
    if (last?.kind === 'data' && last.owned && last.length < copyBelowBytes) append(last, payload);
    else
      this.#entries.push({
        kind: 'data',
        bytes: new Uint8Array(payload),
        length: payload.byteLength,
        owned: true,
      });
  }

  /** The next item with its credit, or undefined when there is none. */
  take(): { item: Incoming; credit: number } | undefined {
    const entry = this.#entries.shift();
    if (!entry) return undefined;
    if (entry.kind === 'message') {
      this.#messages--;
      return {
        item: { kind: 'message', value: decodeScanned(entry.payload) },
        credit: entry.payload.byteLength,
      };
    }
    const bytes =
      entry.length === entry.bytes.byteLength ? entry.bytes : entry.bytes.subarray(0, entry.length);
    return { item: { kind: 'data', bytes }, credit: entry.length };
  }

  clear(): void {
    this.#entries.clear();
    this.#messages = 0;
  }
}

function append(entry: { bytes: Uint8Array; length: number }, payload: Uint8Array): void {
  const length = entry.length + payload.byteLength;
  if (length > entry.bytes.byteLength) {
    const larger = new Uint8Array(Math.max(length, entry.bytes.byteLength * 2));
    larger.set(entry.bytes.subarray(0, entry.length));
    entry.bytes = larger;
  }
  entry.bytes.set(payload, entry.length);
  entry.length = length;
}
