import type { Duplex, Readable, Writable } from 'node:stream';
import type { RemoteError } from '@codex-remote/protocol/wire';

/** How a program on the machine ended. */
export interface RemoteExit {
  /** Absent when a signal ended it or the connection broke first. */
  readonly code?: number;
  readonly signal?: string;
}

/**
 * A program on the machine. The caller reads both outputs (or destroys them), ends `stdin`, and may `kill` at any time;
 * nothing else is to be released.
 */
export interface RemoteProcess {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Settles when the program has ended and its outputs are closed, or the connection has. Never rejects. */
  readonly exited: Promise<RemoteExit>;
  /** Drops the channel; what the program does then is its own affair. Safe to call twice. */
  kill(): void;
}

/** A Unix socket on the machine whose connections arrive here. */
export interface Forwarding {
  /** Stops accepting; connections that exist go on. Never rejects. */
  close(): Promise<void>;
}

/** A way to run programs on a machine: ssh2, the system's `ssh`, or this host itself. */
export interface HostTransport {
  readonly kind: 'ssh2' | 'system' | 'local';
  /** For messages: `user@host port 22 through hop`. */
  readonly description: string;
  /** Runs a command line, which the user's login shell reads there: a constant of ours, never made of data. */
  exec(line: string): Promise<RemoteProcess>;
  /**
   * Listens on a Unix socket on the machine (in a folder that only its user can enter). Absent where the transport cannot.
   * Throws `ssh_unreachable` with `facts.forwarding: "refused"` when the server refuses.
   */
  forward?(socketPath: string, onConnection: (connection: Duplex) => void): Promise<Forwarding>;
  /** One round trip to the other end. Throws when the connection is gone. */
  ping(): Promise<void>;
  /** Settles with the cause once the connection has ended, undefined after `close`. Never rejects. */
  readonly closed: Promise<RemoteError | undefined>;
  /** Ends the connection and all that runs over it. Safe to call twice. */
  close(): Promise<void>;
}

/** Milliseconds for reaching a host and logging in, all hops together. */
export const connectMs = 9_000;
