import { randomBytes } from 'node:crypto';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import { keptTextBytes, sanitise, TextTail } from './remote-text.ts';
import type { HostTransport, RemoteExit, RemoteProcess } from './transport.ts';

/**
 * The one command line that machines are given. Login shells of every kind (csh and fish too) hand it to `/bin/sh`, which
 * reads a script from stdin line by line up to `#end` and runs it. `read` takes single bytes from a pipe (POSIX), so what
 * follows on stdin is the script's: its parameters, a line each, and bulk data. No line is ever made of data.
 */
export const loader = `exec /bin/sh -c 'n=$(printf "\\nx"); n=\${n%x}; s=; while IFS= read -r l; do case $l in "#end") break;; esac; s=$s$l$n; done; eval "$s"'`;

/**
 * What every script begins with. `$S` is a random word; `say KEY VALUE` reports on a line of its own that begins with
 * it, so that the noise of rc files is told apart. The word on stderr ends the noise there.
 */
const prelude = `
IFS= read -r S
say() { printf '\\n%s %s\\n' "$S" "$*"; }
printf '\\n%s\\n' "$S" >&2
PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
`;

/** Reported lines of one script, all together; a machine that says more is not telling the truth. */
const maxReportBytes = 256 * 1024;
/** The longest line of noise that is looked through for the word. */
const maxLineBytes = 64 * 1024;

export interface ScriptOptions {
  readonly clock: Clock;
  /** One line each, in the order in which the script reads them. */
  readonly params?: readonly string[];
  /** Follows the parameters; stdin ends after it. */
  readonly input?: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  /** Neither a byte sent nor one received for so long: given up. */
  readonly idleMs?: number;
  readonly signal?: AbortSignal;
}

/** What a script said and how it ended. */
export class ScriptReport {
  readonly #lines: readonly (readonly [key: string, value: string])[];
  readonly exit: RemoteExit;
  /** Sanitised, without the noise before the script, at most `keptTextBytes`. */
  readonly stderr: string;

  constructor(lines: readonly (readonly [string, string])[], exit: RemoteExit, stderr: string) {
    this.#lines = lines;
    this.exit = exit;
    this.stderr = stderr;
  }

  get(key: string): string | undefined {
    return this.#lines.findLast(([name]) => name === key)?.[1];
  }

  all(key: string): readonly string[] {
    return this.#lines.filter(([name]) => name === key).map(([, value]) => value);
  }

  get empty(): boolean {
    return this.#lines.length === 0;
  }
}

/**
 * Runs a script on the machine and collects what it says. Throws `connection_reset` when the connection breaks,
 * `bootstrap_failed` when nothing moves for `idleMs` or when the script never began, `cancelled`.
 */
export async function runScript(
  transport: HostTransport,
  script: string,
  options: ScriptOptions,
): Promise<ScriptReport> {
  const watch = new IdleWatch(options);
  const starting = startScript(transport, script, options.params ?? []);
  try {
    const { word, process } = await Promise.race([starting, watch.given]);
    const reader = new ReportReader(word);
    const stderr = new TextTail();
    const hear = (take: (chunk: Uint8Array) => void) => (chunk: Uint8Array) => {
      watch.touch();
      take(chunk);
    };
    process.stdout.on(
      'data',
      hear((chunk) => reader.add(chunk)),
    );
    process.stderr.on(
      'data',
      hear((chunk) => stderr.add(chunk)),
    );
    const ended = process.exited.then(() => undefined);
    await Promise.race([feed(process, options.input ?? [], ended, () => watch.touch()), ended, watch.given]);
    const exit = await Promise.race([process.exited, watch.given]);
    if (exit.code === undefined && exit.signal === undefined) {
      throw new RemoteError(
        'connection_reset',
        `the SSH connection to ${transport.description} broke: connection reset by peer`,
        { hint: 'repeat; what was begun on the machine is taken up again' },
      );
    }
    const report = new ScriptReport(reader.lines, exit, sanitise(afterWord(stderr.text(), word)));
    if (report.empty) throw neverBegan(transport, exit, sanitise(stderr.text()));
    return report;
  } finally {
    watch.stop();
    // Also one that starts only after it was given up.
    void starting.then(({ process }) => process.kill()).catch(() => undefined);
  }
}

/** Starts a script and hands over its process, stdin after the parameters. The caller owns the process. */
export async function startScript(
  transport: HostTransport,
  script: string,
  params: readonly string[],
): Promise<{ word: string; process: RemoteProcess }> {
  const bad = params.find((param) => /[\n\r\0]/.test(param));
  if (bad !== undefined)
    throw new RemoteError(
      'usage',
      `${JSON.stringify(bad.slice(0, 200))} has a line break: it cannot be used on a machine`,
    );
  const word = randomBytes(16).toString('hex');
  const process = await transport.exec(loader);
  process.stdin.write(
    `${prelude}${script}\n#end\n${[word, ...params].map((param) => `${param}\n`).join('')}`,
  );
  return { word, process };
}

async function feed(
  process: RemoteProcess,
  input: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  ended: Promise<void>,
  progress: () => void,
): Promise<void> {
  let over = false;
  void ended.then(() => {
    over = true;
  });
  for await (const chunk of input) {
    // A pipe that is broken takes everything at once: without this, an eager source would keep the end from being heard.
    if (over || process.stdin.destroyed) return;
    await Promise.race([new Promise<void>((resolve) => process.stdin.write(chunk, () => resolve())), ended]);
    progress();
  }
  process.stdin.end();
}

function neverBegan(transport: HostTransport, exit: RemoteExit, said: string): RemoteError {
  return new RemoteError(
    'bootstrap_failed',
    `the account on ${transport.description} does not run /bin/sh (it ended with ${exit.signal ?? `code ${exit.code}`})`,
    {
      hint: 'give the account a login shell that runs commands, and remove `exit` and prompts from its rc files',
      facts: { remote_stderr: said },
    },
  );
}

/** stderr from the script's first line on; noise can stand before the word on its line. */
function afterWord(text: string, word: string): string {
  const at = text.indexOf(word);
  return at < 0 ? text.slice(-keptTextBytes) : text.slice(at + word.length);
}

/** Picks the lines that begin with the word out of a stream of whatever. */
class ReportReader {
  readonly lines: (readonly [key: string, value: string])[] = [];
  readonly #word: string;
  #rest = '';
  #bytes = 0;

  constructor(word: string) {
    this.#word = word;
  }

  add(chunk: Uint8Array): void {
    // Latin 1 keeps every byte; a value is decoded when its line is whole.
    const parts = (
      this.#rest + Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('latin1')
    ).split('\n');
    this.#rest = (parts.pop() ?? '').slice(-maxLineBytes);
    for (const line of parts) this.#line(line);
  }

  #line(line: string): void {
    const at = line.indexOf(`${this.#word} `);
    if (at < 0 || this.#bytes > maxReportBytes) return;
    this.#bytes += line.length;
    const said = Buffer.from(line.slice(at + this.#word.length + 1), 'latin1').toString('utf8');
    const space = said.indexOf(' ');
    this.lines.push(space < 0 ? [said, ''] : [said.slice(0, space), said.slice(space + 1)]);
  }
}

/** Gives a script up that neither takes nor gives a byte for a while, or whose caller has gone. */
class IdleWatch {
  /** Only ever rejects. */
  readonly given: Promise<never>;
  readonly #clock: Clock;
  readonly #idleMs: number;
  readonly #signal: AbortSignal | undefined;
  #last: number;
  #timer: { cancel(): void } | undefined;
  #give: (error: RemoteError) => void = () => undefined;

  constructor(options: ScriptOptions) {
    this.#clock = options.clock;
    this.#idleMs = options.idleMs ?? 9_000;
    this.#signal = options.signal;
    this.#last = options.clock.monotonic();
    this.given = new Promise((_, reject) => {
      this.#give = reject;
    });
    this.given.catch(() => undefined);
    this.#signal?.addEventListener('abort', this.#aborted);
    if (this.#signal?.aborted) this.#aborted();
    this.#arm(this.#idleMs);
  }

  touch(): void {
    this.#last = this.#clock.monotonic();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#signal?.removeEventListener('abort', this.#aborted);
  }

  readonly #aborted = (): void => {
    this.#give(new RemoteError('cancelled', 'the work on the machine is not wanted any more'));
  };

  #arm(ms: number): void {
    this.#timer = this.#clock.setTimer(ms, () => {
      const left = this.#last + this.#idleMs - this.#clock.monotonic();
      if (left > 0) this.#arm(left);
      else
        this.#give(
          new RemoteError('bootstrap_failed', `the machine said nothing for ${this.#idleMs / 1000} s`, {
            hint: 'look at the load of the machine and at prompts in rc files of the account',
          }),
        );
    });
  }
}
