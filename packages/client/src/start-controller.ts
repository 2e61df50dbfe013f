import { accessSync, constants, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  type ControllerPaths,
  checkParents,
  execIdName,
  execMarkName,
  failpoint,
  type Lock,
  systemClock,
  takeLock,
} from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import { buildHeader } from './build.ts';
import { request } from './http.ts';
import { lastWords } from './last-words.ts';
import { refused } from './refused.ts';
import { remoteVariables } from './remote-settings.ts';

/** From the spawn to the first answer. A cold start takes about 300 ms. */
const startMs = 15_000;
/** Between two looks at the socket: quick at first. */
const firstLookMs = 5;
const lastLookMs = 100;

export interface StartController {
  readonly paths: Pick<ControllerPaths, 'socket' | 'runtime' | 'state' | 'log'>;
  /** Program and arguments, for example `[node, dist/controller.mjs]`. */
  readonly program: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Build of the controller that is to give way: it is asked to stop by ours, and its answers do not count. */
  readonly replaces?: string | undefined;
  readonly startMs?: number;
}

/** Of one command line; the controller outlives it. */
const callersOwn: readonly string[] = [
  ...remoteVariables,
  'CODEX_REMOTE_MACHINE',
  'CODEX_REMOTE_OUTPUT',
  'CODEX_REMOTE_SESSION',
  'CODEX_THREAD_ID',
  'CLAUDE_CODE_SESSION_ID',
  // A job may start it: with the job's marks it would end with the job.
  execIdName,
  execMarkName,
  'OLDPWD',
  'PWD',
];

/**
 * Makes a controller run and returns when it answers. The child is the leader of its own session, has `/` as directory
 * and no descriptor of ours, so it outlives the caller and its terminal. Of several callers one starts it and the others
 * wait for its answer: a hundred commands are not a hundred controllers. Where two are started all the same, they settle
 * it by their own lock; the loser exits with 0 and its caller finds the winner.
 *
 * Throws `sandbox_denied` (also where our folders cannot be written: a controller would live inside the sandbox) and
 * `controller_unreachable` with the log's path.
 */
export async function startController(options: StartController): Promise<void> {
  const { paths } = options;
  makePrivate(paths.runtime);
  makePrivate(paths.state);
  const limitMs = options.startMs ?? startMs;
  const until = systemClock.monotonic() + limitMs;
  const turn = new Turn(join(paths.state, 'starting.lock'));
  let attempt: Attempt | undefined;
  try {
    for (let waitMs = firstLookMs; ; waitMs = Math.min(lastLookMs, waitMs * 1.5)) {
      // Lost: to one that was on its way out. Nobody answers, so the next one may win.
      if ((attempt === undefined || attempt.lost) && turn.take()) {
        // Who had the turn before may have been done with it.
        if ((await look(paths.socket, options.replaces)) === undefined) return;
        attempt = await Attempt.spawn(options);
      }
      const why = await look(paths.socket, options.replaces);
      if (why === undefined) return;
      if (attempt?.failed !== undefined)
        throw notStarted(attempt.failed, paths.log, lastWords(paths.log, attempt.pid));
      if (systemClock.monotonic() > until)
        throw notStarted(`no answer on its socket within ${limitMs} ms (${why})`, paths.log);
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  } finally {
    turn.release();
  }
}

/** Whose turn it is to start a controller; it ends with its process at the latest. */
class Turn {
  readonly #path: string;
  #lock: Lock | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** False while another has it. A file that cannot be used decides nothing: the controllers have a lock of their own. */
  take(): boolean {
    try {
      this.#lock ??= takeLock(this.#path);
      return true;
    } catch (error) {
      return RemoteError.from(error).code !== 'already_running';
    }
  }

  release(): void {
    this.#lock?.release();
  }
}

/** One controller that was started, as far as its parent sees it. */
class Attempt {
  pid: number | undefined;
  /** Why it will never answer. */
  failed: string | undefined;
  /** It ended by itself because another controller holds the lock. */
  lost = false;

  static async spawn({ program, env, replaces }: StartController): Promise<Attempt> {
    const { spawn } = await import('node:child_process');
    const [command, ...words] = program;
    const argv = replaces === undefined ? words : [...words, '--replaces', replaces];
    const attempt = new Attempt();
    failpoint('client.controller_spawn.before');
    const child = spawn(command, argv, {
      cwd: '/',
      detached: true,
      stdio: 'ignore',
      env: controllerEnvironment(env),
    });
    failpoint('client.controller_spawn.after');
    attempt.pid = child.pid;
    child.once('error', (error) => {
      attempt.failed = error.message;
    });
    child.once('exit', (code, signal) => {
      if (code === 0) attempt.lost = true;
      else attempt.failed = `it ended with ${signal ?? `exit code ${code}`}`;
    });
    child.unref();
    return attempt;
  }
}

export function controllerEnvironment(env: StartController['env']): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && !callersOwn.includes(name)) kept[name] = value;
  }
  return kept;
}

/** Undefined when a controller (of another build than `replaced`) answers that it is ready, else why not. Throws `sandbox_denied`. */
async function look(socket: string, replaced: string | undefined): Promise<string | undefined> {
  try {
    const response = await request(socket, { method: 'GET', path: '/v1/controller', answerMs: 2_000 });
    response.close();
    if (replaced !== undefined && response.headers.get(buildHeader) === replaced)
      return 'the one before it still answers';
    return response.status === 200 ? undefined : `status ${response.status}`;
  } catch (error) {
    const failure = RemoteError.from(error);
    if (failure.code === 'sandbox_denied') throw failure;
    return failure.message;
  }
}

function makePrivate(folder: string): void {
  checkParents(folder);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    const errno = (error as NodeJS.ErrnoException).code ?? 'unknown';
    if (errno === 'EPERM' || errno === 'EACCES' || errno === 'EROFS') throw refused(folder, errno, error);
    throw new RemoteError(
      'state_unusable',
      `the folder ${folder} cannot be made (${errno})`,
      { sent: 'no' },
      error,
    );
  }
}

/** What the controller said of its state is the failure; anything else is that it does not run. */
function notStarted(why: string, log: string, said?: RemoteError): RemoteError {
  const hint = `its log is ${log}; codex-remote controller logs shows the end of it`;
  return new RemoteError(
    said?.code === 'state_unusable' || said?.code === 'disk_low' ? said.code : 'controller_unreachable',
    `the controller could not be started: ${said?.message ?? why}`,
    { hint: said?.details.hint ?? hint, sent: 'no', retryable: said?.retryable ?? true },
    said,
  );
}
