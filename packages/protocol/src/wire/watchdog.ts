import type { Clock, Timer } from './clock.ts';
import { RemoteError } from './errors.ts';
import type { WireLimits } from './limits.ts';

interface WatchdogParts {
  clock: Clock;
  limits: WireLimits;
  bufferedBytes(): number;
  /** Bytes of frames handed to the transport so far, and when the last was. */
  sent(): { bytes: number; at: number };
  ping(): void;
  /** The peer is judged gone; called once, the watchdog has stopped by then. */
  gone(cause: RemoteError): void;
}

/**
 * Heartbeat and both judgements that end a silent session, on one timer that it owns until `stop`:
 *   - nothing sent for `heartbeatMs`: a ping;
 *   - no byte received for `silenceMs`: the peer is gone (half-open connections);
 *   - queued bytes without progress for `stalledMs`: the peer reads no more, though something still answers pings.
 */
export class Watchdog {
  readonly #parts: WatchdogParts;
  #timer: Timer | undefined;
  #dueAt = 0;
  #lastActivityAt: number;
  #lastPingAt: number;
  /** Bytes that the transport had taken when progress was last seen; its own framing makes this a measure, not a count. */
  #taken = Number.NEGATIVE_INFINITY;
  #progressAt: number;

  constructor(parts: WatchdogParts) {
    this.#parts = parts;
    const now = parts.clock.monotonic();
    this.#lastActivityAt = now;
    this.#lastPingAt = now;
    this.#progressAt = now;
    this.#arm(now);
  }

  /** Bytes came from the peer. Called for every frame, so it only notes the time; the timer looks at it when it fires. */
  activity(): void {
    this.#lastActivityAt = this.#parts.clock.monotonic();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(now: number): void {
    const { clock, limits, sent } = this.#parts;
    const pingAt = Math.max(sent().at, this.#lastPingAt) + limits.heartbeatMs;
    this.#dueAt = Math.min(this.#lastActivityAt + limits.silenceMs, pingAt, now + limits.heartbeatMs);
    this.#timer = clock.setTimer(Math.max(this.#dueAt - now, 1), () => this.#look());
  }

  #look(): void {
    const { clock, limits, ping, sent } = this.#parts;
    const now = clock.monotonic();
    if (now - this.#dueAt > limits.heartbeatMs) this.#forgive(now);
    const cause = this.#judge(now);
    if (cause) {
      this.stop();
      this.#parts.gone(cause);
      return;
    }
    if (now - Math.max(sent().at, this.#lastPingAt) >= limits.heartbeatMs) {
      this.#lastPingAt = now;
      ping();
    }
    this.#arm(now);
  }

  /** This process was stopped (SIGSTOP, a sleeping laptop): what came meanwhile is still unread, so the peer gets one heartbeat. */
  #forgive(now: number): void {
    const { limits } = this.#parts;
    this.#lastActivityAt = Math.max(this.#lastActivityAt, now - limits.silenceMs + limits.heartbeatMs);
    this.#progressAt = now;
  }

  #judge(now: number): RemoteError | undefined {
    const { limits, bufferedBytes, sent } = this.#parts;
    const silentMs = Math.round(now - this.#lastActivityAt);
    if (silentMs >= limits.silenceMs) {
      return new RemoteError('peer_silent', `nothing was received for ${silentMs} ms`, {
        facts: { silent_ms: silentMs },
      });
    }
    const buffered = bufferedBytes();
    const taken = sent().bytes - buffered;
    if (buffered === 0 || taken > this.#taken) {
      this.#taken = taken;
      this.#progressAt = now;
      return undefined;
    }
    const stalledMs = Math.round(now - this.#progressAt);
    if (stalledMs < limits.stalledMs) return undefined;
    const facts = { stalled_ms: stalledMs, buffered_bytes: buffered };
    return new RemoteError(
      'peer_silent',
      `the peer took none of ${buffered} queued bytes for ${stalledMs} ms`,
      { facts },
    );
  }
}
