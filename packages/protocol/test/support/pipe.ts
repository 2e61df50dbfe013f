import type { Transport, TransportHandlers } from '../../src/wire/index.ts';

/**
 * One end of a pipe in memory. Frames are delivered in a microtask, in order, each end on its own; what is not yet
 * delivered counts as buffered, as it would in a socket.
 */
export class PipeEnd implements Transport {
  peer: PipeEnd | undefined;
  closedWith: { code: number; reason: string } | 'destroyed' | undefined;
  #handlers: TransportHandlers | undefined;
  #queue: Uint8Array[] = [];
  #buffered = 0;
  #scheduled = false;
  /** While true nothing that this end sends arrives: a peer that does not read. */
  paused = false;

  attach(handlers: TransportHandlers): void {
    this.#handlers = handlers;
  }

  send(frame: Uint8Array): void {
    if (this.closedWith) return;
    this.#queue.push(frame);
    this.#buffered += frame.byteLength;
    this.#schedule();
  }

  bufferedBytes(): number {
    return this.#buffered;
  }

  close(code: number, reason: string): void {
    this.closedWith ??= { code, reason };
    this.#schedule();
  }

  destroy(): void {
    this.closedWith ??= 'destroyed';
    this.#queue = [];
    this.#schedule();
  }

  resume(): void {
    this.paused = false;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.paused) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#deliver());
  }

  #deliver(): void {
    this.#scheduled = false;
    const frames = this.#queue;
    this.#queue = [];
    this.#buffered = 0;
    for (const frame of frames) {
      this.peer?.receive(frame);
      if (this.paused) break;
    }
    if (frames.length > 0) this.#handlers?.drained();
    if (this.closedWith) this.peer?.gone();
  }

  receive(frame: Uint8Array): void {
    this.#handlers?.activity();
    this.#handlers?.frame(frame);
  }

  /** Part of a frame came to this end. */
  activitySeen(): void {
    this.#handlers?.activity();
  }

  gone(): void {
    const handlers = this.#handlers;
    this.#handlers = undefined;
    handlers?.closed();
  }
}

export function pipe(): { agentEnd: PipeEnd; controllerEnd: PipeEnd } {
  const agentEnd = new PipeEnd();
  const controllerEnd = new PipeEnd();
  agentEnd.peer = controllerEnd;
  controllerEnd.peer = agentEnd;
  return { agentEnd, controllerEnd };
}
