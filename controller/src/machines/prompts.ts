import { randomBytes } from 'node:crypto';
import type { Prompt } from '@codex-remote/protocol/schema';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import type { Question } from '../ssh/index.ts';

/** A question waits so long for its answer. */
const promptMs = 120_000;

/** Questions of a login on their way to the person at the caller's terminal, and their answers. */
export class Prompts {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, (answer: string | undefined) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Shows the question and waits for `answer` with its id. Undefined when the person gives none, when the time is over, or
   * when the caller has `gone`.
   */
  async ask(
    question: Question,
    show: (prompt: Prompt) => void,
    gone: AbortSignal,
  ): Promise<string | undefined> {
    if (gone.aborted) return undefined;
    const id = randomBytes(16).toString('hex');
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    const giveUp = (): void => resolve(undefined);
    const timer = this.#clock.setTimer(promptMs, giveUp);
    gone.addEventListener('abort', giveUp, { once: true });
    this.#waiting.set(id, resolve);
    try {
      show({ id, ...question });
      return await promise;
    } finally {
      this.#waiting.delete(id);
      gone.removeEventListener('abort', giveUp);
      timer.cancel();
    }
  }

  /** Throws `usage` for a question that is answered, too old, or nobody's. */
  answer(id: string, answer: string | undefined): void {
    const resolve = this.#waiting.get(id);
    if (!resolve) throw new RemoteError('usage', 'nobody waits for this answer any more');
    resolve(answer);
  }
}
