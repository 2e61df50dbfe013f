import { type FSWatcher, watch } from 'node:fs';
import { dirname } from 'node:path';
import { Backoff, type Logger, makePrivateDir } from '@codex-remote/platform';
import type { AgentEndpoint } from '@codex-remote/protocol/schema';
import { type Channel, type Clock, RemoteError, Session } from '@codex-remote/protocol/wire';
import { type DialTarget, dial } from './dial.ts';
import { dialTargets } from './endpoints.ts';
import { type AgentSelf, greetController } from './handshake.ts';

export interface ConnectorOptions {
  readonly self: AgentSelf;
  /** Asked before every round; absent: those of the config. */
  readonly endpoints?: () => readonly AgentEndpoint[];
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** Serves one request of the controller. */
  readonly accept: (channel: Channel, verb: string, params: unknown) => void;
  /** Told when a session begins, and why there is none after an attempt. */
  readonly onLink?: (connected: boolean, error?: RemoteError) => void;
}

const firstWaitMs = 200;
const maxWaitMs = 15_000;

/** A dial and handshake under way. */
interface Attempt {
  readonly target: DialTarget;
  readonly giveUp: AbortController;
}

/** From the first packet to the end of the handshake. A forwarded socket whose SSH connection died accepts and says nothing. */
const attemptMs = 10_000;

/**
 * Keeps one session to the controller for as long as the agent lives: tries each endpoint in turn, waits with full
 * jitter between rounds, and tries at once when a socket appears, also when it is in the middle of an older one.
 */
export class Connector {
  readonly #options: ConnectorOptions;
  readonly #stopped = new AbortController();
  readonly #backoff: Backoff;
  /** By the folder in which sockets appear. */
  readonly #watchers = new Map<string, FSWatcher>();
  #wake = new AbortController();
  #attempt: Attempt | undefined;
  #session: Session | undefined;

  /** Throws `state_unusable` when a folder for tunnels cannot be made. */
  constructor(options: ConnectorOptions) {
    this.#options = options;
    this.#backoff = new Backoff({
      clock: options.clock,
      random: options.random,
      firstMs: firstWaitMs,
      maxMs: maxWaitMs,
    });
    this.#watchFolders();
  }

  /** Resolves after `stop`. */
  async run(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      this.#wake = new AbortController();
      this.#watchFolders();
      if (await this.#round()) this.#backoff.reset();
      await this.#backoff.wait(AbortSignal.any([this.#wake.signal, this.#stopped.signal]));
    }
  }

  stop(): void {
    this.#stopped.abort();
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#attempt?.giveUp.abort();
    this.#session?.end(new RemoteError('shutting_down', 'the agent was asked to stop'));
  }

  #endpoints(): readonly AgentEndpoint[] {
    const { endpoints, self } = this.#options;
    return endpoints?.() ?? self.config.endpoints;
  }

  #watchFolders(): void {
    for (const endpoint of this.#endpoints()) {
      if (endpoint.kind === 'tunnel') this.#watchSockets(endpoint.dir);
      if (endpoint.kind === 'unix') this.#watchSockets(dirname(endpoint.path));
    }
  }

  #watchSockets(dir: string): void {
    if (this.#watchers.has(dir)) return;
    makePrivateDir(dir);
    const watcher = watch(dir, () => void this.#socketsChanged());
    // Without the watch the rounds go on.
    watcher.on('error', () => watcher.close());
    this.#watchers.set(dir, watcher);
  }

  async #socketsChanged(): Promise<void> {
    const [newest] = await dialTargets(this.#endpoints());
    if (!newest) return;
    const attempt = this.#attempt;
    if (attempt && describe(attempt.target) === describe(newest)) return;
    attempt?.giveUp.abort();
    this.#wake.abort();
  }

  /** True when there was a session, whatever ended it. */
  async #round(): Promise<boolean> {
    for (const target of await dialTargets(this.#endpoints())) {
      if (this.#stopped.signal.aborted || this.#wake.signal.aborted) return false;
      try {
        const session = await this.#connect(target);
        await this.#hold(session, target);
        return true;
      } catch (error) {
        const failure = RemoteError.from(error);
        const { code, message } = failure;
        this.#options.log.info({ target: describe(target), code, err: message }, 'dial failed');
        this.#options.onLink?.(false, failure);
      }
    }
    return false;
  }

  async #connect(target: DialTarget): Promise<Session> {
    const { self, clock, accept } = this.#options;
    const giveUp = new AbortController();
    const deadline = clock.setTimer(attemptMs, () => giveUp.abort());
    this.#attempt = { target, giveUp };
    if (this.#stopped.signal.aborted) giveUp.abort();
    try {
      const dialled = await dial(target, giveUp.signal);
      const drop = (): void => dialled.transport.destroy();
      giveUp.signal.addEventListener('abort', drop);
      await greetController(dialled, self, clock);
      giveUp.signal.removeEventListener('abort', drop);
      return new Session({ transport: dialled.transport, side: 'agent', clock, accept });
    } finally {
      deadline.cancel();
      this.#attempt = undefined;
    }
  }

  async #hold(session: Session, target: DialTarget): Promise<void> {
    const { log, onLink } = this.#options;
    this.#session = session;
    if (this.#stopped.signal.aborted) {
      session.end(new RemoteError('shutting_down', 'the agent was asked to stop'));
    }
    log.info({ target: describe(target) }, 'connected');
    onLink?.(true);
    const cause = await session.closed;
    this.#session = undefined;
    onLink?.(false, cause);
    log.info({ code: cause.code, err: cause.message }, 'disconnected');
  }
}

function describe(target: DialTarget): string {
  return target.kind === 'unix' ? target.path : target.url;
}
