import { watch } from 'node:fs';
import { oneLine } from '@codex-remote/client';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Context } from '../../context.ts';
import type { Outcome } from '../../outcome.ts';
import type { Trees } from './flags.ts';
import type { SyncRun } from './perform.ts';

/** Changes come in swarms: a pass waits until there was none for so long, or for as long as a pass takes. */
const quietMs = 100;
/** What is not told of changes here is looked for now and then; of a machine, always. */
const lookAgainMs = { push: 30_000, pull: 2_000 } as const;
/** Where the system cannot watch the tree. */
const unwatchedMs = 2_000;
const afterFailureMs = 5_000;

/** Passes without end: a line for each that did something. Ends well when it is told to stop. */
export async function watchTrees(
  trees: Trees,
  run: SyncRun,
  context: Context,
  signal: AbortSignal,
): Promise<Outcome> {
  const changes = new Changes(trees, signal);
  let passes = 0;
  let tookMs = 0;
  try {
    for (;;) {
      const begin = context.clock.monotonic();
      const failed = await pass(run, context, passes === 0, signal);
      passes += 1;
      tookMs = context.clock.monotonic() - begin;
      await changes.next(Math.max(quietMs, tookMs), failed ? afterFailureMs : undefined);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    const value = { type: 'end', ok: true, machine: trees.order.machine, passes };
    return { value, exit: 0, human: () => `stopped after ${passes} passes` };
  } finally {
    changes.close();
  }
}

/** True: it failed in a way that may pass. Throws what will not. */
async function pass(
  run: SyncRun,
  { output }: Context,
  first: boolean,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    const { value, human } = await run.once();
    if (!first && !didSomething(value)) return false;
    if (output.mode === 'human') await output.text(`${human()}\n`);
    else await output.line({ type: 'synced', ...value });
    return false;
  } catch (error) {
    const failure = RemoteError.from(error);
    if (signal.aborted || !failure.retryable) throw error;
    if (output.mode === 'human') output.note(oneLine(failure.message));
    else await output.line({ type: 'error', ok: false, error: failure.toWire() });
    return true;
  }
}

function didSomething(value: object): boolean {
  const counts = value as Readonly<Record<string, unknown>>;
  return ['files', 'directories', 'links', 'changed', 'removed'].some((name) => counts[name] !== 0);
}

/** When it is time for the next pass. */
class Changes {
  readonly #signal: AbortSignal;
  readonly #watcher: ReturnType<typeof watch> | undefined;
  readonly #againMs: number;
  #changed = false;
  #wake: (() => void) | undefined;

  constructor({ direction, src }: Trees, signal: AbortSignal) {
    this.#signal = signal;
    this.#watcher = direction === 'push' ? this.#watch(src) : undefined;
    this.#againMs = direction === 'push' && !this.#watcher ? unwatchedMs : lookAgainMs[direction];
    signal.addEventListener('abort', () => this.#wake?.(), { once: true });
  }

  /** Resolves when something has changed and then nothing for `quiet` milliseconds, or it is time to look anyway. Throws when it was stopped. */
  async next(quiet: number, afterMs = this.#againMs): Promise<void> {
    if (!this.#changed) await this.#sleep(afterMs);
    do {
      this.#changed = false;
      await this.#sleep(quiet);
    } while (this.#changed);
  }

  close(): void {
    this.#watcher?.close();
  }

  #watch(root: string): ReturnType<typeof watch> | undefined {
    try {
      const watcher = watch(root, { recursive: true }, (_event, name) => {
        // What git does for itself, and what we write, is not part of the tree.
        if (name !== null && /(?:^|\/)(?:\.git|\.cr-sync)(?:\/|$)/.test(name)) return;
        this.#changed = true;
        this.#wake?.();
      });
      watcher.on('error', () => watcher.close());
      return watcher;
    } catch {
      return undefined;
    }
  }

  async #sleep(ms: number): Promise<void> {
    if (this.#signal.aborted) throw this.#signal.reason;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
    if (this.#signal.aborted) throw this.#signal.reason;
  }
}
