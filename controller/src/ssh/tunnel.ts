import { randomBytes } from 'node:crypto';
import { join } from 'node:path/posix';
import type { Duplex } from 'node:stream';
import { Backoff } from '@codex-remote/platform';
import { type Clock, type ErrorCode, RemoteError } from '@codex-remote/protocol/wire';
import { type InstalledAgent, openBridge } from './bridge.ts';
import { Deadline } from './deadline.ts';
import { runScript } from './script.ts';
import type { HostTransport } from './transport.ts';

export type TunnelKind = 'tunnel' | 'bridge';

export type TunnelState =
  | { readonly status: 'connecting' }
  /** The agent can dial. */
  | { readonly status: 'open'; readonly connection: TunnelKind }
  /** The last attempt failed, or the connection broke; the next attempt comes by itself. */
  | { readonly status: 'waiting'; readonly error: RemoteError }
  /** For good: closed (no error), or a failure that only a person can mend. */
  | { readonly status: 'stopped'; readonly error?: RemoteError };

export interface TunnelOptions {
  readonly clock: Clock;
  /** [0, 1). */
  readonly random: () => number;
  /** A fresh connection to the machine; the tunnel owns it. Throws RemoteError. */
  readonly connect: (signal: AbortSignal) => Promise<HostTransport>;
  /** A connection that exists already, used for the first attempt; the tunnel owns it from here on. */
  readonly initial?: HostTransport;
  /** Folder on the machine that its agent watches for sockets. */
  readonly runDir: string;
  readonly installed: InstalledAgent;
  /** Bridge even where forwarding is allowed. */
  readonly bridgeOnly?: boolean;
  /** Bytes of the agent's connection; the callee owns it. */
  readonly onConnection: (connection: Duplex, kind: TunnelKind) => void;
  readonly onState?: (state: TunnelState) => void;
}

/** Waits between attempts: full jitter in [0, 0.5 s) first, in [0, 15 s) at last. */
const waits = { firstMs: 500, maxMs: 15_000 } as const;
/** A connection that held for so long was a good one: the next wait is short again. */
const steadyMs = 10_000;
/** How long a connection may take to be left in good order. */
const goodbyeMs = 1_000;
/** How long a connection under suspicion may take to answer. */
const suspectMs = 3_000;

/** What a person must mend before another attempt can succeed. */
const fatal: ReadonlySet<ErrorCode> = new Set([
  'ssh_auth_failed',
  'host_key_unknown',
  'host_key_changed',
  'ssh_config_invalid',
]);

/** Other tunnels' sockets in the folder are dead: sshd leaves them, and one controller owns the folder. */
const sweepScript = `
IFS= read -r dir; IFS= read -r keep
cd "$dir" || exit 0
for f in t-*.sock; do
  [ "$f" = "$keep" ] || rm -f -- "$f"
done
say swept
`;

/**
 * Keeps a way open by which the agent of a machine can dial its controller: a remote-forwarded Unix socket, or bridges
 * where the server refuses that. Opens again after loss until it is closed.
 */
export class Tunnel {
  readonly #options: TunnelOptions;
  readonly #end = new AbortController();
  readonly #backoff: Backoff;
  readonly #waiters = new Set<() => void>();
  readonly #done: Promise<void>;
  #wake = new AbortController();
  #state: TunnelState = { status: 'connecting' };
  #transport: HostTransport | undefined;
  /** Somebody else's by now. */
  #released: HostTransport | undefined;

  constructor(options: TunnelOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ clock: options.clock, random: options.random, ...waits });
    this.#done = this.#run();
  }

  get state(): TunnelState {
    return this.#state;
  }

  /** The live SSH connection, for checks. The tunnel owns it. */
  get transport(): HostTransport | undefined {
    return this.#transport;
  }

  /** Settles when the agent can dial. Throws what stopped the tunnel, or `cancelled`. */
  async opened(signal?: AbortSignal): Promise<TunnelKind> {
    for (;;) {
      const state = this.#state;
      if (state.status === 'open') return state.connection;
      if (state.status === 'stopped')
        throw state.error ?? new RemoteError('cancelled', 'the tunnel was closed');
      if (signal?.aborted) throw new RemoteError('cancelled', 'the tunnel is not waited for any more');
      await new Promise<void>((resolve) => {
        const done = (): void => {
          this.#waiters.delete(done);
          signal?.removeEventListener('abort', done);
          resolve();
        };
        this.#waiters.add(done);
        signal?.addEventListener('abort', done);
      });
    }
  }

  /** Ends a wait between attempts: the network is back, or somebody asks. */
  retryNow(): void {
    this.#wake.abort();
  }

  /** The agent's session went silent: drops the SSH connection unless it answers within 3 s. */
  async suspect(): Promise<void> {
    const transport = this.#transport;
    if (transport === undefined) return this.retryNow();
    const answers = await answersWithin(transport, this.#options.clock, suspectMs);
    if (!answers) await transport.close();
  }

  /** Ends the connection and removes the socket. Never rejects; safe to call twice. */
  async close(): Promise<void> {
    this.#end.abort();
    await this.#done;
  }

  /** As `close`, but the live SSH connection stays, and is the caller's to use and close. Undefined where there is none. */
  async release(): Promise<HostTransport | undefined> {
    const released = this.#transport;
    this.#released = released;
    await this.close();
    return released;
  }

  async #run(): Promise<void> {
    const { signal } = this.#end;
    let initial = this.#options.initial;
    while (!signal.aborted) {
      this.#become({ status: 'connecting' });
      const openedAt = this.#options.clock.monotonic();
      let error: RemoteError;
      try {
        this.#transport = initial ?? (await this.#options.connect(signal));
        initial = undefined;
        error = await this.#serve(this.#transport);
      } catch (thrown) {
        error = RemoteError.from(thrown);
      }
      if (this.#transport !== this.#released) await this.#transport?.close();
      this.#transport = undefined;
      if (signal.aborted) break;
      if (fatal.has(error.code)) return this.#become({ status: 'stopped', error });
      if (this.#options.clock.monotonic() - openedAt > steadyMs) this.#backoff.reset();
      this.#wake = new AbortController();
      this.#become({ status: 'waiting', error });
      await this.#backoff.wait(AbortSignal.any([signal, this.#wake.signal]));
    }
    await initial?.close();
    this.#become({ status: 'stopped' });
  }

  /** Returns why the connection ended. Throws when nothing could be opened on it. */
  async #serve(transport: HostTransport): Promise<RemoteError> {
    if (transport.forward === undefined || this.#options.bridgeOnly) return this.#bridge(transport);
    const { runDir, onConnection, clock } = this.#options;
    const name = `t-${randomBytes(8).toString('hex')}.sock`;
    const path = join(runDir, name);
    let forwarding: Awaited<ReturnType<NonNullable<HostTransport['forward']>>>;
    try {
      forwarding = await transport.forward(path, (connection) => onConnection(connection, 'tunnel'));
    } catch (error) {
      if (error instanceof RemoteError && error.details.facts?.forwarding === 'refused')
        return this.#bridge(transport);
      throw error;
    }
    this.#become({ status: 'open', connection: 'tunnel' });
    const swept = runScript(transport, sweepScript, {
      clock,
      params: [runDir, name],
      signal: this.#end.signal,
    }).catch(() => undefined);
    const cause = await this.#until(transport.closed);
    await swept;
    if (this.#end.signal.aborted && (await answersWithin(transport, clock, goodbyeMs))) {
      await forwarding.close();
      await runScript(transport, sweepScript, { clock, params: [runDir, ''], idleMs: goodbyeMs }).catch(
        () => undefined,
      );
    }
    return cause ?? ended(transport);
  }

  async #bridge(transport: HostTransport): Promise<RemoteError> {
    const over = transport.closed.then((cause) => cause ?? ended(transport));
    for (;;) {
      const opening = openBridge(transport, this.#options.installed);
      const bridge = await this.#until(opening);
      if (bridge === undefined) {
        void opening.then((late) => late.close()).catch(() => undefined);
        return ended(transport);
      }
      try {
        this.#become({ status: 'open', connection: 'bridge' });
        const connection = await this.#until(bridge.connection);
        if (this.#end.signal.aborted) return ended(transport);
        // A bridge that ends before the agent has spoken is a failure, with its own wait before the next.
        if (connection === undefined) return await bridge.ended;
        this.#options.onConnection(connection, 'bridge');
        await this.#until(Promise.race([bridge.ended, over]));
        if (this.#end.signal.aborted) return ended(transport);
        const cause = await Promise.race([over, Promise.resolve(undefined)]);
        if (cause !== undefined) return cause;
      } finally {
        bridge.close();
      }
    }
  }

  /** The value, or undefined when the tunnel is closed before. */
  #until<T>(promise: Promise<T>): Promise<T | undefined> {
    const { signal } = this.#end;
    return new Promise((resolve, reject) => {
      const stop = (): void => resolve(undefined);
      if (signal.aborted) stop();
      signal.addEventListener('abort', stop);
      promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
    });
  }

  #become(state: TunnelState): void {
    this.#state = state;
    for (const waiter of [...this.#waiters]) waiter();
    this.#options.onState?.(state);
  }
}

function ended(transport: HostTransport): RemoteError {
  return new RemoteError(
    'connection_reset',
    `the SSH connection to ${transport.description} ended: connection reset by peer`,
  );
}

/** One round trip, or not within the time. Never rejects. */
export async function answersWithin(transport: HostTransport, clock: Clock, ms: number): Promise<boolean> {
  let limit: { cancel(): void } | undefined;
  const late = new Promise<boolean>((resolve) => {
    limit = new Deadline(clock, ms).watch(() => resolve(false));
  });
  const answer = transport.ping().then(
    () => true,
    () => false,
  );
  try {
    return await Promise.race([answer, late]);
  } finally {
    limit?.cancel();
  }
}
