import { Duplex } from 'node:stream';
import { RemoteError } from '@codex-remote/protocol/wire';
import { sanitise, TextTail } from './remote-text.ts';
import { startScript } from './script.ts';
import type { HostTransport, RemoteProcess } from './transport.ts';

/** Where the agent is installed on the machine: what runs it. */
export interface InstalledAgent {
  /** The Node that runs it. */
  readonly node: string;
  /** `agent.mjs` */
  readonly agent: string;
  readonly home: string;
}

const bridgeScript = `
IFS= read -r node; IFS= read -r agent; IFS= read -r home
printf '\\n%s bridge\\n' "$S"
exec "$node" "$agent" bridge --home "$home"
`;

/** Noise of rc files before the bridge speaks. */
const maxNoiseBytes = 1024 * 1024;

/** One `agent bridge` on the machine: the bytes of one connection of its agent, over the stdio of a program. */
export interface Bridge {
  /** Settles with the connection when the agent has dialled and its first bytes are here; undefined when the bridge ended before. */
  readonly connection: Promise<Duplex | undefined>;
  /** Settles when the bridge has ended, with what it said when it did so by itself. Never rejects. */
  readonly ended: Promise<RemoteError>;
  close(): void;
}

/** Starts a bridge; returns when it runs. Throws `bootstrap_failed` when it does not begin, `connection_reset`. */
export async function openBridge(transport: HostTransport, installed: InstalledAgent): Promise<Bridge> {
  const { word, process } = await startScript(transport, bridgeScript, [
    installed.node,
    installed.agent,
    installed.home,
  ]);
  const stderr = new TextTail();
  process.stderr.on('data', (chunk: Buffer) => stderr.add(chunk));
  const ended = process.exited.then(
    () =>
      new RemoteError(
        'connection_reset',
        `the bridge on ${transport.description} ended: connection reset by peer`,
        {
          facts: { remote_stderr: sanitise(stderr.text()) },
        },
      ),
  );
  try {
    const rest = await skipNoise(process, `${word} bridge\n`);
    if (rest === undefined) {
      const { details, message } = await ended;
      throw new RemoteError('bootstrap_failed', message, details);
    }
    return { connection: firstBytes(process, rest), ended, close: () => process.kill() };
  } catch (error) {
    process.kill();
    throw error;
  }
}

/** Reads up to and with `mark`; the bytes after it. Undefined when the output ends before, or is noise without end. */
function skipNoise(process: RemoteProcess, mark: string): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    let seen = Buffer.alloc(0);
    const settle = (rest: Buffer | undefined): void => {
      process.stdout.removeListener('data', take).removeListener('end', end);
      process.stdout.pause();
      resolve(rest);
    };
    const end = (): void => settle(undefined);
    const take = (chunk: Buffer): void => {
      seen = Buffer.concat([seen, chunk]);
      const at = seen.indexOf(mark);
      if (at >= 0) settle(seen.subarray(at + mark.length));
      else if (seen.length > maxNoiseBytes) settle(undefined);
    };
    process.stdout.on('data', take).once('end', end);
    void process.exited.then(end);
  });
}

/** The HTTP server counts from the moment it gets a connection, so it gets one only when the agent has spoken. */
function firstBytes(process: RemoteProcess, rest: Buffer): Promise<Duplex | undefined> {
  return new Promise((resolve) => {
    const take = (chunk: Buffer): void => {
      process.stdout.removeListener('end', end).pause();
      process.stdout.unshift(chunk);
      const duplex = Duplex.from({ readable: process.stdout, writable: process.stdin });
      duplex.on('error', () => undefined);
      duplex.once('close', () => process.kill());
      resolve(duplex);
    };
    const end = (): void => resolve(undefined);
    if (rest.length > 0) return take(rest);
    process.stdout.once('data', take).once('end', end);
    process.stdout.resume();
    void process.exited.then(end);
  });
}
