import type { Hello } from '@codex-remote/protocol/schema';
import {
  type Clock,
  defaultWireLimits,
  type ErrorDetails,
  RemoteError,
  type Session,
} from '@codex-remote/protocol/wire';
import { bringsAgent } from '../registry/joined.ts';
import type { ConnectionKind } from '../registry/registry.ts';

/** A machine that was connected within this time is taken to be reconnecting: four times the agent's longest wait. */
const reconnectingMs = 60_000;

/** How long a connected agent has to show that it is there when another one comes with its key. */
const probeMs = defaultWireLimits.heartbeatMs;

/** Refused instances that are remembered: each start of a copy is one. */
const maxCopies = 16;

export interface LinkInfo {
  readonly connection: ConnectionKind;
  readonly connectedSince: string;
  readonly hello: Hello;
}

interface Live {
  readonly session: Session;
  readonly info: LinkInfo;
}

interface Waiter {
  resolve(session: Session): void;
  reject(cause: RemoteError): void;
}

/** One machine's connection as others see it: the live session, or the wait for the next one. */
export class MachineLink {
  readonly machine: string;
  readonly #clock: Clock;
  readonly #waiters = new Set<Waiter>();
  /** When it was last connected, or this controller began: on the monotonic clock, which nobody sets. */
  #awaySince: number;
  #live: Live | undefined;
  /** Epoch ms of the last moment at which the machine was connected. */
  #lastSeenMs: number | undefined;
  /** Instances that were refused while another was connected. */
  readonly #copies = new Set<string>();
  #duplicateSeenMs: number | undefined;
  readonly #gone = new AbortController();
  /** Its agent came and shares no protocol version with us; until a connection comes that does. */
  #outdated: RemoteError | undefined;
  /** It was taken down: no connection comes until somebody brings it up. */
  #down = false;

  /** Whether it dials in by itself, and nobody here can bring its agent. */
  readonly #invited: () => boolean;

  /** `bornMs`: when this controller began to take connections, on the monotonic clock. */
  constructor(machine: string, clock: Clock, bornMs = clock.monotonic(), invited = () => false) {
    this.#invited = invited;
    this.machine = machine;
    this.#clock = clock;
    this.#awaySince = bornMs;
  }

  get live(): Live | undefined {
    // It may have ended while we were not told of it yet.
    return this.#live?.session.ended ? undefined : this.#live;
  }

  /** Aborted when nothing comes of this machine any more: it was removed, or the controller stops. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  get lastSeenMs(): number | undefined {
    return this.#live ? this.#clock.wall() : this.#lastSeenMs;
  }

  /**
   * Whether an agent may connect: one that is connected already may again, another process only where the one before is
   * gone. While that answers, the newcomer is a copy of the agent, a cloned machine: it is refused, and so it stays for as
   * long as the other may be just reconnecting, so that two never take turns. Throws `duplicate_agent`.
   */
  async admit({ instance_id }: Hello): Promise<void> {
    for (;;) {
      this.#gone.signal.throwIfAborted();
      const { live } = this;
      if (live === undefined) {
        if (this.#copies.has(instance_id) && this.#isReconnecting()) throw this.#duplicate(instance_id);
        return;
      }
      if (live.info.hello.instance_id === instance_id) return;
      if (await live.session.answers(probeMs)) throw this.#duplicate(instance_id);
      // It may have connected anew meanwhile; if not, it is gone.
      if (this.live === undefined || this.live === live) return;
    }
  }

  /** When an agent was last refused because another one with the machine's key is connected, epoch ms. */
  get duplicateSeenMs(): number | undefined {
    return this.#duplicateSeenMs;
  }

  attach(session: Session, info: LinkInfo): void {
    const live = { session, info };
    const before = this.#live;
    this.#live = live;
    this.#copies.delete(info.hello.instance_id);
    this.#down = false;
    this.#outdated = undefined;
    before?.session.end(
      new RemoteError('session_replaced', `a newer connection of ${this.machine} took over`, {
        machine: this.machine,
      }),
    );
    for (const waiter of [...this.#waiters]) waiter.resolve(session);
    void session.closed.then(() => {
      this.#lastSeenMs = this.#clock.wall();
      this.#awaySince = this.#clock.monotonic();
      if (this.#live === live) this.#live = undefined;
    });
  }

  /**
   * The live session, or the next one within `waitMs`. Throws `machine_offline` when none came, `cancelled` when `signal`
   * was aborted.
   */
  session(waitMs: number, signal: AbortSignal): Promise<Session> {
    if (this.gone.aborted) return Promise.reject(this.gone.reason);
    const { live } = this;
    if (live) return Promise.resolve(live.session);
    if (waitMs <= 0 || this.#outdated) return Promise.reject(this.offline());
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', onAbort);
        this.#waiters.delete(waiter);
      };
      const waiter: Waiter = {
        resolve: (session) => {
          settle();
          resolve(session);
        },
        reject: (cause) => {
          settle();
          reject(cause);
        },
      };
      const onAbort = (): void => waiter.reject(new RemoteError('cancelled', 'the caller went away'));
      const timer = this.#clock.setTimer(waitMs, () => waiter.reject(this.offline()));
      this.#waiters.add(waiter);
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort);
    });
  }

  /**
   * How long it makes sense to wait for this machine: `wantedMs` where it is just reconnecting (it, or this controller,
   * was up a moment ago), else not at all.
   */
  patience(wantedMs: number): number {
    if (this.#down || this.#outdated) return 0;
    return this.#isReconnecting() ? wantedMs : 0;
  }

  #isReconnecting(): boolean {
    // Connected; or it was until just now, and we were not told yet.
    if (this.#live) return true;
    return this.#clock.monotonic() - this.#awaySince <= reconnectingMs;
  }

  #duplicate(instance: string): RemoteError {
    this.#duplicateSeenMs = this.#clock.wall();
    this.#copies.add(instance);
    const [oldest] = this.#copies;
    if (this.#copies.size > maxCopies && oldest !== undefined) this.#copies.delete(oldest);
    return new RemoteError('duplicate_agent', `another live agent uses the key of ${this.machine}`, {
      machine: this.machine,
      hint: 'where a machine was cloned: remove the agent home on the copy and bring it up under a name of its own',
    });
  }

  /** The machine's agent cannot be spoken with: whoever waits for it is told at once, and what helps. */
  outdated(cause: RemoteError): void {
    if (this.live) return;
    this.#outdated = cause.with({
      machine: this.machine,
      ...this.bringsAgent('brings the agent of this release; its execs go on'),
    });
    for (const waiter of [...this.#waiters]) waiter.reject(this.#outdated);
  }

  /** What brings an agent there, as details of an error. */
  bringsAgent(what: string): Pick<ErrorDetails, 'hint' | 'facts'> {
    return bringsAgent(this.machine, this.#invited(), what);
  }

  /** Another agent was started there: what the one before it spoke says nothing of it. */
  agentReplaced(): void {
    this.#outdated = undefined;
  }

  /** The machine was taken down: nobody waits for it until its next connection. */
  takenDown(): void {
    this.#down = true;
    const cause = new RemoteError('machine_offline', `machine offline: ${this.machine} was taken down`, {
      machine: this.machine,
    });
    for (const waiter of [...this.#waiters]) waiter.reject(this.offline());
    this.#live?.session.end(cause);
  }

  offline(): RemoteError {
    if (this.#outdated && !this.#down) return this.#outdated;
    const seen =
      this.#lastSeenMs === undefined
        ? 'not seen since the controller started'
        : `last seen ${new Date(this.#lastSeenMs).toISOString()}`;
    return new RemoteError(
      'machine_offline',
      `machine offline: ${this.machine} ${this.#down ? 'was taken down' : 'is not connected'} (${seen})`,
      {
        machine: this.machine,
        sent: 'no',
        ...this.bringsAgent('brings it back; running execs go on meanwhile'),
      },
    );
  }

  /** The machine was removed from the registry, or the controller stops: everybody waiting is told. */
  close(cause: RemoteError): void {
    this.#gone.abort(cause);
    for (const waiter of [...this.#waiters]) waiter.reject(cause);
    this.#live?.session.end(cause);
  }
}
