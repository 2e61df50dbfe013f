import { type FSWatcher, watch } from 'node:fs';
import { Backoff, type Logger } from '@codex-remote/platform';
import { type Channel, type Clock, RemoteError, Session } from '@codex-remote/protocol/wire';
import { type DialTarget, dial } from './dial.ts';
import { dialTargets } from './endpoints.ts';
import { type AgentSelf, greetController } from './handshake.ts';

export interface ConnectorOptions {
  readonly self: AgentSelf;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** Serves one request of the controller. */
  readonly accept: (channel: Channel, verb: string, params: unknown) => void;
}

const firstWaitMs = 200;
const maxWaitMs = 15_000;

/**
 * Keeps one session to the controller for as long as the agent lives: tries each endpoint in turn, waits with full
 * jitter between rounds, and tries at once when a tunnel socket appears.
 */
export class Connector {
  readonly #options: ConnectorOptions;
  readonly #stopped = new AbortController();
  readonly #backoff: Backoff;
  readonly #watchers: FSWatcher[] = [];
  #wake = new AbortController();
  #session: Session | undefined;

  constructor(options: ConnectorOptions) {
    this.#options = options;
    this.#backoff = new Backoff({
      clock: options.clock,
      random: options.random,
      firstMs: firstWaitMs,
      maxMs: maxWaitMs,
    });
    for (const endpoint of options.self.config.endpoints) {
      if (endpoint.kind === 'tunnel') this.#watchers.push(watch(endpoint.dir, () => this.#wake.abort()));
    }
  }

  /** Resolves after `stop`. */
  async run(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      this.#wake = new AbortController();
      if (await this.#round()) this.#backoff.reset();
      await this.#backoff.wait(AbortSignal.any([this.#wake.signal, this.#stopped.signal]));
    }
  }

  stop(): void {
    this.#stopped.abort();
    for (const watcher of this.#watchers) watcher.close();
    this.#session?.end(new RemoteError('shutting_down', 'the agent was asked to stop'));
  }

  /** True when there was a session, whatever ended it. */
  async #round(): Promise<boolean> {
    for (const target of await dialTargets(this.#options.self.config.endpoints)) {
      if (this.#stopped.signal.aborted) return false;
      try {
        await this.#hold(target);
        return true;
      } catch (error) {
        this.#options.log.info(
          {
            target: describe(target),
            code: RemoteError.from(error).code,
            err: RemoteError.from(error).message,
          },
          'dial failed',
        );
      }
    }
    return false;
  }

  async #hold(target: DialTarget): Promise<void> {
    const { self, clock, log, accept } = this.#options;
    const dialled = await dial(target, this.#stopped.signal);
    await greetController(dialled, self, clock);
    const session = new Session({ transport: dialled.transport, side: 'agent', clock, accept });
    this.#session = session;
    if (this.#stopped.signal.aborted)
      session.end(new RemoteError('shutting_down', 'the agent was asked to stop'));
    log.info({ target: describe(target) }, 'connected');
    const cause = await session.closed;
    this.#session = undefined;
    log.info({ code: cause.code, err: cause.message }, 'disconnected');
  }
}

function describe(target: DialTarget): string {
  return target.kind === 'unix' ? target.path : target.url;
}
