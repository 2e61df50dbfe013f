import type { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

export const directions = ['up', 'down'] as const;
export type Direction = (typeof directions)[number];
export type Cut = 'rst' | 'fin';

/** What happens to the bytes of one direction, of all connections together. */
export interface StreamFaults {
  /** Size of the pieces that are passed on. */
  readonly bytes?: number;
  readonly delayMs?: number;
  readonly bytesPerSecond?: number;
  cut?: { where(bytes: Buffer): number | undefined; run(stream: ProxiedStream): void };
  corrupt?: { left: number };
}

/** One direction of one proxied connection: the bytes of `from` to `to` in their order, through the faults. */
export class ProxiedStream {
  faults: StreamFaults;
  readonly #from: Socket;
  readonly #to: Socket;
  #silent = false;

  constructor(from: Socket, to: Socket, faults: StreamFaults) {
    this.faults = faults;
    this.#from = from;
    this.#to = to;
    void this.#run().catch(() => undefined);
  }

  /** Takes nothing more: what the sender sends piles up in the kernel, and it is not told. */
  silence(): void {
    this.#silent = true;
  }

  async #run(): Promise<void> {
    while (!this.#silent) {
      const chunk = this.#from.read() as Buffer | null;
      if (chunk) {
        if (!(await this.#pass(chunk))) return;
      } else if (this.#from.readableEnded) {
        this.#to.end();
        return;
      } else await this.#more();
    }
  }

  /** Resolves when there may be something to read, or the end has come. */
  #more(): Promise<void> {
    return new Promise((resolve) => {
      const from = this.#from;
      const done = (): void => {
        from.off('readable', done);
        from.off('end', done);
        resolve();
      };
      from.on('readable', done);
      from.on('end', done);
    });
  }

  /** False when the connection was cut. */
  async #pass(chunk: Buffer): Promise<boolean> {
    const cut = this.faults.cut;
    const at = cut?.where(chunk);
    const bytes = at === undefined ? chunk : chunk.subarray(0, at);
    this.#corrupt(bytes);
    const size = this.faults.bytes ?? Math.max(1, bytes.byteLength);
    for (let begin = 0; begin < bytes.byteLength; begin += size) {
      const piece = bytes.subarray(begin, begin + size);
      const { delayMs = 0, bytesPerSecond } = this.faults;
      const wait = delayMs + (bytesPerSecond === undefined ? 0 : (piece.byteLength * 1000) / bytesPerSecond);
      if (wait > 0) await pause(wait);
      if (this.#silent || this.#to.destroyed) return false;
      if (!(await this.#deliver(piece))) return false;
    }
    if (!cut || at === undefined) return true;
    cut.run(this);
    return false;
  }

  /** Resolves when the kernel has it: a RST throws away what it was not given yet. */
  #deliver(piece: Buffer): Promise<boolean> {
    return new Promise((resolve) => {
      this.#to.write(piece, (error) => resolve(!error));
    });
  }

  #corrupt(bytes: Buffer): void {
    const { corrupt } = this.faults;
    if (!corrupt) return;
    if (corrupt.left >= bytes.byteLength) {
      corrupt.left -= bytes.byteLength;
      return;
    }
    bytes[corrupt.left] = (bytes[corrupt.left] ?? 0) ^ 0xff;
    delete this.faults.corrupt;
  }
}
