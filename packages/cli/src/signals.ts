/** Thrown out of a watch that is to end while the job goes on. */
export class Detached extends Error {
  override readonly name = 'Detached';
  readonly why: 'signal' | 'max_wait';

  constructor(why: 'signal' | 'max_wait') {
    super(why === 'signal' ? 'told to stop watching' : 'the wait is over');
    this.why = why;
  }
}

/**
 * What ends a watch from outside: a signal, or `--max-wait`. SIGHUP, SIGTERM and SIGINT detach; a SIGINT goes to
 * `interrupted` first, if that takes it. Owns its handlers and its timer until `close`.
 */
export class Watchdog {
  readonly #abort = new AbortController();
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #interrupted: (() => boolean) | undefined;
  readonly #detach = () => this.#abort.abort(new Detached('signal'));
  readonly #interrupt = () => {
    if (!this.#interrupted?.()) this.#detach();
  };

  /** `interrupted` answers whether it has taken the SIGINT. */
  constructor(options: {
    maxWaitMs?: number | undefined;
    readerGone: AbortSignal;
    interrupted?: (() => boolean) | undefined;
  }) {
    this.#interrupted = options.interrupted;
    process.on('SIGINT', this.#interrupt);
    process.on('SIGTERM', this.#detach);
    process.on('SIGHUP', this.#detach);
    if (options.maxWaitMs !== undefined)
      this.#timer = setTimeout(() => this.#abort.abort(new Detached('max_wait')), options.maxWaitMs);
    this.signal = AbortSignal.any([this.#abort.signal, options.readerGone]);
  }

  readonly signal: AbortSignal;

  close(): void {
    clearTimeout(this.#timer);
    process.off('SIGINT', this.#interrupt);
    process.off('SIGTERM', this.#detach);
    process.off('SIGHUP', this.#detach);
  }
}
