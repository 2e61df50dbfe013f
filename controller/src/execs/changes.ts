import { EventEmitter } from 'node:events';
import type { ExecState } from '@codex-remote/protocol/schema';

/** Tells whoever waits that an exec's state was reported. Listeners look again; the event carries no promise of order. */
export class ExecChanges {
  readonly #emitter = new EventEmitter().setMaxListeners(0);

  publish(machine: string, state: ExecState): void {
    this.#emitter.emit(keyOf(machine, state.exec_id), state);
  }

  /** Returns the way to stop listening; the caller calls it on every path. */
  listen(machine: string, execId: string, listener: (state: ExecState) => void): () => void {
    const key = keyOf(machine, execId);
    this.#emitter.on(key, listener);
    return () => this.#emitter.off(key, listener);
  }
}

function keyOf(machine: string, execId: string): string {
  return `${machine}/${execId}`;
}
