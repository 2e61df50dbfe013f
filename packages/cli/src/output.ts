import { forTerminal, safeJson } from '@codex-remote/client';
import { RemoteError } from '@codex-remote/protocol/wire';

export type OutputMode = 'json' | 'human' | 'raw' | 'brief';
const modes: readonly OutputMode[] = ['json', 'human', 'raw', 'brief'];

/** Thrown by a write whose reader has gone: everything unwinds, the exit status is 141. */
export class ReaderGone extends Error {
  override readonly name = 'ReaderGone';
}

export interface Streams {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
}

type Env = Readonly<Record<string, string | undefined>>;

/**
 * True where a person sits at both ends: stdin and stdout are terminals and `TERM` is set and not `dumb`. Asks the
 * descriptors: `process.stdin` would cost 6 ms.
 */
export function atTerminal(env: Env): boolean {
  if (env.TERM === undefined || env.TERM === '' || env.TERM === 'dumb') return false;
  const { isatty } = process.getBuiltinModule('node:tty');
  return isatty(1) && isatty(0);
}

/** A flag wins, then `CODEX_REMOTE_OUTPUT`, then what stands at the other end. Throws `usage` for a word that is none. */
export function outputMode(flag: OutputMode | undefined, env: Env, terminal: boolean): OutputMode {
  if (flag !== undefined) return flag;
  const wanted = env.CODEX_REMOTE_OUTPUT;
  if (wanted === undefined || wanted === '') return terminal ? 'human' : 'json';
  const mode = modes.find((known) => known === wanted);
  if (mode === undefined)
    throw new RemoteError('usage', `CODEX_REMOTE_OUTPUT is one of ${modes.join(', ')}`, { sent: 'no' });
  return mode;
}

/**
 * Our stdout and stderr: waits for a slow reader, notices one that went away. Node makes its streams in 3 ms; that is
 * left until there is something to write, when a short command has its request under way.
 */
export class Output {
  readonly mode: OutputMode;
  /** A person is there: progress and hints may go to stderr, questions may be asked. */
  readonly terminal: boolean;
  readonly #streams: Streams;
  readonly #gone = new AbortController();
  #opened: { stdout: NodeJS.WriteStream; stderr: NodeJS.WriteStream } | undefined;

  constructor(mode: OutputMode, terminal: boolean, streams: Streams) {
    this.mode = mode;
    this.terminal = terminal;
    this.#streams = streams;
  }

  /** Aborted when the reader of stdout has gone. */
  get readerGone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Resolves when there is room for more. Throws `ReaderGone`. */
  async write(data: string | Uint8Array, to: 'stdout' | 'stderr' = 'stdout'): Promise<void> {
    const gone = this.#gone.signal;
    if (gone.aborted) throw gone.reason;
    if (data.length === 0) return;
    const stream = this.#open()[to];
    if (stream.write(data)) return;
    await new Promise<void>((resolve, reject) => {
      const settle = () => {
        stream.off('drain', settle);
        stream.off('close', settle);
        gone.removeEventListener('abort', settle);
        if (gone.aborted) reject(gone.reason);
        else resolve();
      };
      stream.on('drain', settle);
      stream.on('close', settle);
      gone.addEventListener('abort', settle);
    });
  }

  /** One JSON object on one line. */
  async line(value: object): Promise<void> {
    await this.write(`${safeJson(value)}\n`);
  }

  /** Text for people: whatever came into it, nothing of it acts on the terminal. Throws `ReaderGone`. */
  async text(text: string, to: 'stdout' | 'stderr' = 'stdout'): Promise<void> {
    await this.write(harmless(text), to);
  }

  /** A message for people, on stderr; never fails. */
  note(text: string): void {
    this.#open().stderr.write(`${harmless(text)}\n`);
  }

  /** Resolves when everything was taken by the system. Throws `ReaderGone`. */
  async flush(): Promise<void> {
    const { stdout, stderr } = this.#opened ?? {};
    for (const stream of [stdout, stderr]) {
      if (stream === undefined) continue;
      if (stream.writableLength === 0) continue;
      await new Promise<void>((resolve) => {
        stream.once('close', resolve);
        stream.write('', () => resolve());
      });
    }
    if (this.#gone.signal.aborted) throw this.#gone.signal.reason;
  }

  #open(): { stdout: NodeJS.WriteStream; stderr: NodeJS.WriteStream } {
    if (this.#opened !== undefined) return this.#opened;
    const { stdout, stderr } = this.#streams;
    stdout.on('error', (error: NodeJS.ErrnoException) => {
      const gone = error.code === 'EPIPE' || error.code === 'ECONNRESET';
      this.#gone.abort(gone ? new ReaderGone('the reader of stdout went away') : error);
    });
    // Nobody reads our messages: that is no reason to stop.
    stderr.on('error', () => {});
    this.#opened = { stdout, stderr };
    return this.#opened;
  }
}

/** Nothing that acts on a terminal, and nothing that writes over the beginning of its line. */
function harmless(text: string): string {
  return forTerminal(text).replaceAll('\r', '');
}
