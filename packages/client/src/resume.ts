import { type Clock, RemoteError } from '@codex-remote/protocol/wire';

/** Reads by position go on without the caller seeing it when the controller is back within this. */
export const resumeMs = 30_000;
const firstPauseMs = 50;
const lastPauseMs = 1_000;

/** The controller went away or is about to: the same read can go on with the next one. */
export const cutCodes: ReadonlySet<string> = new Set([
  'stream_cut',
  'controller_unreachable',
  'controller_starting',
  'shutting_down',
  'peer_silent',
  'session_replaced',
]);
/** A controller that has just come back has no connection to the machine yet. */
export const comingBackCodes: ReadonlySet<string> = new Set(['machine_offline', 'connection_reset']);

/** How long a read that was cut may still try to go on; one per read. */
export class Resume {
  readonly #clock: Clock;
  readonly #signal: AbortSignal | undefined;
  /** The first cut since something was last received. */
  #cut: { error: RemoteError; since: number } | undefined;
  #pauseMs = firstPauseMs;
  /** When the read went on after the last cut; undefined until it does. */
  #wentOnMs: number | undefined;

  constructor(clock: Clock, signal?: AbortSignal) {
    this.#clock = clock;
    this.#signal = signal;
  }

  /** Something new was received: the window begins anew at the next cut. */
  received(): void {
    this.#cut = undefined;
    this.#pauseMs = firstPauseMs;
  }

  /** The read goes on, with nothing new yet: the window begins anew once it has held for as long as a window. */
  wentOn(): void {
    this.#wentOnMs ??= this.#clock.monotonic();
  }

  /** True after a controller that was told to stop: it is not for a reader to start another. */
  get stoppedOnPurpose(): boolean {
    return this.#cut?.error.code === 'shutting_down';
  }

  /** Pauses, then the caller tries again. Throws the error itself when it is no cut, `connection_reset` after the window. */
  async after(error: unknown): Promise<void> {
    if (this.#signal?.aborted) throw this.#signal.reason;
    const failure = RemoteError.from(error);
    if (!cutCodes.has(failure.code) && !(this.#cut !== undefined && comingBackCodes.has(failure.code)))
      throw error;
    const now = this.#clock.monotonic();
    // Else a stream that always breaks at the same place would be read again for ever.
    if (this.#wentOnMs !== undefined && now - this.#wentOnMs >= resumeMs) this.received();
    this.#wentOnMs = undefined;
    this.#cut ??= { error: failure, since: now };
    if (now - this.#cut.since >= resumeMs)
      throw comingBackCodes.has(failure.code) ? failure : reset(this.#cut.error);
    await pause(this.#clock, this.#pauseMs, this.#signal);
    this.#pauseMs = Math.min(lastPauseMs, this.#pauseMs * 2);
  }
}

function reset(cause: RemoteError): RemoteError {
  return new RemoteError(
    'connection_reset',
    `connection reset by peer: the controller went away and did not come back within ${resumeMs / 1000} s`,
    {
      hint: 'nothing was sent twice and a job that was accepted goes on; look at it with exec result, at the machine with machine check',
    },
    cause,
  );
}

/** Resolves after `ms`; rejects with the signal's reason. */
export function pause(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const stop = () => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.setTimer(ms, () => {
      signal?.removeEventListener('abort', stop);
      resolve();
    });
    signal?.addEventListener('abort', stop, { once: true });
  });
}
