import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { failpoint } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';

/** Absolute paths of what a shim calls: the job's PATH may be empty. `setsid` is empty where there is none. */
export interface ShimTools {
  readonly sh: string;
  readonly cat: string;
  readonly setsid: string;
  readonly sleep: string;
  /** The script itself. */
  readonly script: string;
}

/** Looks in the system's folders, not on PATH. Throws `state_unusable` when sh, cat or sleep is missing. */
export function findTools(script = fileURLToPath(new URL('./shim.sh', import.meta.url))): ShimTools {
  const need = (name: string): string => {
    const path = findTool(name);
    if (!path)
      throw new RemoteError('state_unusable', `the system has no ${name}`, { facts: { tool: name } });
    return path;
  };
  return { sh: need('sh'), cat: need('cat'), setsid: findTool('setsid') ?? '', sleep: need('sleep'), script };
}

/** Undefined where the system has no such program. */
export function findTool(name: string): string | undefined {
  return ['/bin', '/usr/bin', '/usr/local/bin', '/run/current-system/sw/bin']
    .map((dir) => `${dir}/${name}`)
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** Open descriptors that the shim inherits. The caller closes its own copies after the spawn. */
export interface ShimFiles {
  readonly stdin: number;
  readonly shim: number;
  readonly record: number;
  readonly stdout: number;
  readonly stderr: number;
}

/** What the job is, once known. */
export interface JobStart {
  readonly id: string;
  /** A random word in the job's environment by which its descendants are told from others'. */
  readonly mark: string;
  readonly cwd: string;
  readonly argv: readonly string[];
}

export interface ShimOptions {
  readonly tools: ShimTools;
  /** The exec's folder; the shim lives there so that it pins no directory of the user. */
  readonly folder: string;
  readonly files: ShimFiles;
  /** The whole environment of the job, but for id and mark. */
  readonly env: Readonly<Record<string, string>>;
  readonly umask: number;
  readonly merge: boolean;
  /** Given: `go` starts it. Absent: a spare, `take` tells it. */
  readonly job?: JobStart;
}

/** The job is the first to go when memory is short, not the agent. */
const oomScoreAdj = 500;

/** Bytes of a request that a spare reads at its gate; sh reads a pipe byte by byte, about 0.2 µs each. */
const maxTakeBytes = 8 * 1024;

/** A shim that waits at its gate, in a session of its own. Who has it ends it: `go`, `take` or `abort`. */
export class GatedShim {
  readonly pid: number;
  /** Resolves when the outer shell has ended. */
  readonly exited: Promise<void>;
  readonly #gate: Socket;
  #alive = true;

  constructor(child: ChildProcess, pid: number, gate: Socket) {
    this.pid = pid;
    this.#gate = gate;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.exited = promise;
    child.once('exit', () => {
      this.#alive = false;
      resolve();
    });
    // EPIPE from a shim that was killed: its record says what became of it.
    gate.on('error', () => undefined);
    child.unref();
    gate.unref();
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** Starts the job that was given at the spawn. */
  go(): void {
    this.#open('go\n');
  }

  /** Tells a spare what to start. `job` has passed `canTake`. */
  take(job: JobStart): void {
    this.#open(`take\n${takeMessage(job)}go\n`);
  }

  /** The job never runs; the shim writes `aborted` and ends. */
  abort(): void {
    this.#gate.destroy();
  }

  #open(message: string): void {
    this.#gate.write(message, () => this.#gate.destroy());
  }
}

/** A spare reads text by lines in whatever locale: plain ASCII is safe in every shell, the rest gets a shim of its own. */
export function canTake(job: JobStart): boolean {
  const message = takeMessage(job);
  return message.length <= maxTakeBytes && /^[\t\n\x20-\x7e]*$/.test(message);
}

function takeMessage(job: JobStart): string {
  return [job.id, job.mark, job.cwd, ...job.argv]
    .map((value) => `${value.split('\n').length - 1}\n${value}\n`)
    .join('');
}

/**
 * Starts a shim that waits at its gate. Throws the system's error of the spawn (E2BIG, EAGAIN, EMFILE, ENOMEM …); nothing
 * is left running then.
 */
export async function spawnShim(options: ShimOptions): Promise<GatedShim> {
  const { tools, files, job } = options;
  const args = ['outer', options.merge ? 'merge' : 'split', tools.sh, tools.cat, tools.setsid, tools.sleep];
  args.push(options.umask.toString(8).padStart(4, '0'), String(oomScoreAdj));
  if (job) args.push(job.id, job.mark, job.cwd, ...job.argv);
  failpoint('agent.shim_spawn.before');
  const child = spawn(tools.sh, [tools.script, ...args], {
    cwd: options.folder,
    detached: true,
    env: options.env,
    stdio: [files.stdin, files.shim, files.shim, 'pipe', files.record, files.stdout, files.stderr],
  });
  failpoint('agent.shim_spawn.after');
  const gate = child.stdio[3];
  if (child.pid === undefined || !(gate instanceof Socket)) {
    throw await new Promise<Error>((resolve) => child.once('error', resolve));
  }
  return new GatedShim(child, child.pid, gate);
}
