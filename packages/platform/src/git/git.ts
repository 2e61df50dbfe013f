import { RemoteError } from '@codex-remote/protocol/wire';
import type { GitCall } from './call.ts';
import type { GitInput } from './feed.ts';
import { type GitExit, GitProcess, type GitProgram, gitFailed } from './process.ts';

/** What a run answers that is read whole; one that says more is ended: `too_large`. */
const defaultMaxOutputBytes = 64 * 1024 * 1024;

export interface GitRun {
  readonly input?: GitInput;
  readonly signal?: AbortSignal | undefined;
  readonly maxOutputBytes?: number;
}

export interface GitAnswer extends GitExit {
  readonly stdout: Buffer;
}

/** Git on this host. Every call is hardened, see `call.ts`. */
export class Git {
  readonly #program: GitProgram;

  constructor(path = 'git', env: GitProgram['env'] = process.env) {
    this.#program = { path, env };
  }

  /** Starts it; for output that is too large to be kept. Errors of the start come from the process's `exit` and `done`. */
  start(call: GitCall, run: Omit<GitRun, 'maxOutputBytes'> = {}): GitProcess {
    return new GitProcess(this.#program, call, run.input, run.signal);
  }

  /** What git writes, when it ended well. Throws `git_missing`, `git_failed`, `disk_low`, `too_large`, `cancelled`. */
  async run(call: GitCall, run: GitRun = {}): Promise<Buffer> {
    const answer = await this.ask(call, run);
    if (answer.code !== 0) throw gitFailed(call, answer);
    return answer.stdout;
  }

  /** As `run`, one line without its end. */
  async line(call: GitCall, run: GitRun = {}): Promise<string> {
    return (await this.run(call, run)).toString('utf8').replace(/\n$/, '');
  }

  /** As `run`, for who asks by the exit code: a failure of git itself is an answer too. */
  async ask(call: GitCall, run: GitRun = {}): Promise<GitAnswer> {
    const { maxOutputBytes = defaultMaxOutputBytes, signal } = run;
    const child = this.start(call, run);
    const pieces: Buffer[] = [];
    let bytes = 0;
    for await (const piece of child.stdout) {
      bytes += piece.byteLength;
      if (bytes <= maxOutputBytes) pieces.push(piece);
      else child.kill();
    }
    const exit = await child.exit;
    if (signal?.aborted) throw new RemoteError('cancelled', `git ${call.args[0] ?? ''} was not waited for`);
    if (bytes > maxOutputBytes)
      throw new RemoteError(
        'too_large',
        `git ${call.args[0] ?? ''} answered more than ${maxOutputBytes} bytes`,
      );
    return { ...exit, stdout: Buffer.concat(pieces) };
  }
}
