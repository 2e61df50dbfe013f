import { setImmediate } from 'node:timers/promises';
import { RemoteError } from '@codex-remote/protocol/wire';
import { sliceMs } from './limits.ts';

/** Throws `cancelled` where nobody waits for it any more. */
export function goesOn(signal: AbortSignal | undefined): void {
  if (signal?.aborted)
    throw new RemoteError(
      'cancelled',
      'the tree was not read to its end: nobody waits for it',
      {},
      signal.reason,
    );
}

/** Lets others have the event loop when a walk has had it for long enough: its calls of the system are synchronous. */
export class Slice {
  #until = performance.now() + sliceMs;

  get over(): boolean {
    return performance.now() >= this.#until;
  }

  async rest(signal: AbortSignal | undefined): Promise<void> {
    await setImmediate();
    goesOn(signal);
    this.#until = performance.now() + sliceMs;
  }
}
