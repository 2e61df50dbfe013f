import type { Duplex } from 'node:stream';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import type { Client, ClientChannel } from 'ssh2';
import { ChannelDuplex } from './channel-duplex.ts';
import { Deadline } from './deadline.ts';
import type { HostKeyEvent } from './host-key-policy.ts';
import type { Ask } from './question.ts';
import type { ResolvedHost } from './resolve.ts';
import { dialHost, dialThrough, login, planLogin } from './ssh2-login.ts';
import {
  connectMs,
  type Forwarding,
  type HostTransport,
  type RemoteExit,
  type RemoteProcess,
} from './transport.ts';
import { describeHost, forwardingRefused, unreachable } from './unreachable.ts';

export interface Ssh2Options {
  readonly clock: Clock;
  /** SHA256:… that the user accepts where a key is unknown. */
  readonly acceptHostKey?: string;
  /** Hears of host keys that are refused or stored. */
  readonly onHostKey?: (event: HostKeyEvent) => void;
  /** For all hops together, without the time in which a person is asked. */
  readonly timeoutMs?: number;
  /** Where a person can be asked for a passphrase, a password or a code. */
  readonly ask?: Ask;
  /** Gives the attempt up, with `cancelled`. */
  readonly signal?: AbortSignal;
}

/**
 * Logs in through ssh2, hop by hop. Throws `ssh_unreachable`, `ssh_auth_failed`, `host_key_unknown`, `host_key_changed`,
 * `ssh_config_invalid`.
 */
export async function connectSsh2(host: ResolvedHost, options: Ssh2Options): Promise<HostTransport> {
  const deadline = new Deadline(options.clock, options.timeoutMs ?? connectMs, options.signal);
  const { ask } = options;
  const asking: Ask | undefined = ask && ((question) => deadline.standFor(() => ask(question)));
  const logins: Login[] = [];
  try {
    for (const hop of [...host.jumps, host]) {
      const plan = await planLogin(hop, options.acceptHostKey, asking, options.onHostKey);
      const before = logins.at(-1);
      const bytes =
        before === undefined
          ? await dialHost(hop, deadline)
          : await dialThrough(before.client, hop, before.alive, deadline);
      const client = await login(bytes, plan, deadline);
      let alive = true;
      client.on('close', () => {
        alive = false;
      });
      // Without a listener an error would be thrown; `close` follows and says the same.
      client.on('error', () => undefined);
      logins.push({ client, bytes, alive: () => alive });
    }
  } catch (error) {
    for (const { bytes } of logins.reverse()) bytes.destroy();
    throw error;
  }
  return new Ssh2Transport(host, logins);
}

/** One hop that is logged in. `bytes` carry it: ssh2 does not destroy a socket that it has begun to end. */
interface Login {
  readonly client: Client;
  readonly bytes: Duplex;
  readonly alive: () => boolean;
}

class Ssh2Transport implements HostTransport {
  readonly kind = 'ssh2';
  readonly description: string;
  readonly closed: Promise<RemoteError | undefined>;
  readonly #host: ResolvedHost;
  readonly #client: Client;
  readonly #bytes: Duplex;
  readonly #listeners = new Map<string, (connection: Duplex) => void>();
  #alive = true;
  #closing = false;

  /** `logins` in the order of connecting, the machine's last; they end with this. */
  constructor(host: ResolvedHost, logins: readonly Login[]) {
    const last = logins.at(-1);
    if (last === undefined) throw new RemoteError('internal', 'an SSH transport needs a client');
    const { client } = last;
    this.#host = host;
    this.#client = client;
    this.#bytes = last.bytes;
    this.description = describeHost(host);
    this.closed = new Promise((resolve) => {
      client.once('close', () => {
        this.#alive = false;
        for (const hop of logins) hop.bytes.destroy();
        resolve(this.#closing ? undefined : this.#broken());
      });
    });
    client.on('unix connection', (info, accept, reject) => {
      const listener = this.#listeners.get(info.socketPath);
      if (listener === undefined) reject();
      else {
        const connection = new ChannelDuplex(accept(), () => this.#alive);
        // Whoever has it hears of a broken connection by its close; an error without a listener would end the process.
        connection.on('error', () => undefined);
        listener(connection);
      }
    });
  }

  exec(line: string): Promise<RemoteProcess> {
    return this.#ask((done) => {
      this.#client.exec(line, (error, channel) => {
        if (error)
          done(
            this.#alive
              ? unreachable(this.#host, 'exec_refused', 'the server refuses to run commands', error)
              : this.#broken(error),
          );
        else done(undefined, new ChannelProcess(channel, () => this.#alive));
      });
    });
  }

  async forward(socketPath: string, onConnection: (connection: Duplex) => void): Promise<Forwarding> {
    this.#listeners.set(socketPath, onConnection);
    try {
      await this.#ask<void>((done) => {
        this.#client.openssh_forwardInStreamLocal(socketPath, (error) => {
          if (!error) done(undefined);
          else done(this.#alive ? forwardingRefused(this.#host, error) : this.#broken(error));
        });
      });
    } catch (error) {
      this.#listeners.delete(socketPath);
      throw error;
    }
    return {
      close: async () => {
        if (!this.#listeners.delete(socketPath) || !this.#alive) return;
        await this.#ask<void>((done) =>
          this.#client.openssh_unforwardInStreamLocal(socketPath, () => done(undefined)),
        ).catch(() => undefined);
      },
    };
  }

  /** Cancels a forwarding that does not exist: the server must answer (RFC 4254 section 4), and starts no process for it. */
  async ping(): Promise<void> {
    await this.#ask<void>((done) => {
      this.#client.openssh_unforwardInStreamLocal('/codex-remote/no-such-socket', () =>
        done(this.#alive ? undefined : this.#broken()),
      );
    });
  }

  async close(): Promise<void> {
    this.#closing = true;
    if (!this.#alive) return;
    this.#client.end();
    // The goodbye is in the kernel's hands; nobody waits for a dead peer's.
    this.#bytes.destroy();
    await this.closed;
  }

  /** Runs one request of ssh2, which throws when its socket is gone and forgets callbacks of a client that closes meanwhile. */
  #ask<T>(start: (done: (error: Error | undefined, value?: T) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const gone = (): void => reject(this.#broken());
      this.#client.once('close', gone);
      const done = (error: Error | undefined, value?: T): void => {
        this.#client.removeListener('close', gone);
        if (error === undefined) resolve(value as T);
        else reject(error);
      };
      if (!this.#alive) return done(this.#broken());
      try {
        start(done);
      } catch (error) {
        done(this.#broken(error));
      }
    });
  }

  #broken(cause?: unknown): RemoteError {
    return new RemoteError(
      'connection_reset',
      `the SSH connection to ${this.description} broke: connection reset by peer`,
      { hint: 'it is opened again by itself where a tunnel needs it; else repeat' },
      cause,
    );
  }
}

class ChannelProcess implements RemoteProcess {
  readonly stdin: Duplex;
  readonly stdout: Duplex;
  readonly stderr: ClientChannel['stderr'];
  readonly exited: Promise<RemoteExit>;
  readonly #duplex: ChannelDuplex;

  constructor(channel: ClientChannel, alive: () => boolean) {
    this.exited = new Promise((resolve) => {
      let exit: RemoteExit = {};
      channel.once('exit', (code: number | null, signal?: string) => {
        exit = { ...(code === null ? {} : { code }), ...(signal === undefined ? {} : { signal }) };
      });
      channel.once('close', () => resolve(exit));
    });
    this.#duplex = new ChannelDuplex(channel, alive);
    // A reader that looks only at `exited` must not make an error of the stream fatal.
    this.#duplex.on('error', () => undefined);
    this.stdin = this.#duplex;
    this.stdout = this.#duplex;
    this.stderr = channel.stderr;
  }

  kill(): void {
    this.stderr.resume();
    this.#duplex.destroy();
  }
}
