import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { Transform, type TransformCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { cliProgram } from '../src/lab/index.ts';
import { type History, nowMs, type Operation } from './history.ts';
import type { Caller } from './plan.ts';
import type { World } from './world.ts';

export type Request = Pick<Operation, 'kind' | 'args' | 'story' | 'machine' | 'stream'>;

/** No client has a reason to take so long: the longest job, and every window in which it waits for somebody. */
const overdueMs = 180_000;

const maxStderrBytes = 4_000;

/** Runs clients of ours and records each. Owns their processes: `close` ends those that still run. */
export class Clients {
  readonly #world: World;
  readonly #history: History;
  readonly #running = new Map<Promise<Operation>, { child: ChildProcess; request: Request }>();

  constructor(world: World, history: History) {
    this.#world = world;
    this.#history = history;
  }

  get running(): readonly Request[] {
    return [...this.#running.values()].map(({ request }) => request);
  }

  /** Resolves when the client has ended, however. */
  run(request: Request, caller: Caller = { kind: 'stays' }): Promise<Operation> {
    const { cli } = this.#world;
    const child = spawn(cliProgram, request.args, {
      env: cli.env,
      cwd: cli.home,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const done = this.#record(child, request, caller).finally(() => this.#running.delete(done));
    this.#running.set(done, { child, request });
    return done;
  }

  /** Everything that runs has ended. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running.keys());
  }

  async close(): Promise<void> {
    for (const { child } of this.#running.values()) child.kill('SIGKILL');
    await this.idle();
  }

  async #record(child: ChildProcess, request: Request, caller: Caller): Promise<Operation> {
    if (!child.stdout || !child.stderr) throw new Error('a client has no pipes');
    const raw = request.kind === 'follow_raw' || request.kind === 'last_read';
    // Raw bytes of stderr go to the client's own stderr.
    const [stdout, stderr] =
      raw && request.stream === 'stderr' ? [child.stderr, child.stdout] : [child.stdout, child.stderr];
    const n = this.#history.nextNumber();
    const beganMs = nowMs();
    let firstOutputMs: number | undefined;
    let said = '';
    stdout.once('data', () => {
      firstOutputMs = nowMs();
    });
    stderr.setEncoding('utf8').on('data', (text: string) => {
      if (said.length < maxStderrBytes) said += text;
    });
    const reader = new Reader();
    const printed = pipeline(stdout, reader, createWriteStream(this.#history.printedPath(n)));
    const { timers, fate } = treat(child, reader, caller);
    const [status, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (...how) => resolve(how));
    });
    for (const timer of timers) clearTimeout(timer);
    await printed;
    const operation: Operation = {
      n,
      ...request,
      beganMs,
      ...(firstOutputMs !== undefined && { firstOutputMs }),
      endedMs: nowMs(),
      ...(status !== null && { status }),
      ...(signal !== null && { signal }),
      killed: signal === 'SIGKILL',
      overdue: fate.overdue,
      interrupted: fate.interrupted,
      stderr: said,
    };
    this.#history.add(operation);
    return operation;
  }
}

/** Who reads what a client prints; sometimes it takes nothing for a while, and the client's pipe fills up. */
class Reader extends Transform {
  #until = 0;

  pauseFor(ms: number): void {
    this.#until = performance.now() + ms;
  }

  override _transform(chunk: Uint8Array, _encoding: BufferEncoding, callback: TransformCallback): void {
    const leftMs = this.#until - performance.now();
    if (leftMs > 0) setTimeout(() => callback(null, chunk), leftMs);
    else callback(null, chunk);
  }
}

/** Does to the client's process what its caller does. The timers are cleared when it has ended. */
function treat(
  child: ChildProcess,
  reader: Reader,
  caller: Caller,
): { timers: NodeJS.Timeout[]; fate: { interrupted: boolean; overdue: boolean } } {
  const fate = { interrupted: false, overdue: false };
  const timers: NodeJS.Timeout[] = [];
  const later = (ms: number, action: () => void): void => void timers.push(setTimeout(action, ms));
  later(overdueMs, () => {
    fate.overdue = child.kill('SIGKILL');
  });
  switch (caller.kind) {
    case 'stays':
      break;
    case 'killed':
      later(caller.afterMs, () => child.kill('SIGKILL'));
      break;
    case 'interrupted':
      later(caller.afterMs, () => {
        fate.interrupted = child.kill('SIGTERM');
      });
      break;
    case 'stopped':
      later(caller.afterMs, () => child.kill('SIGSTOP'));
      later(caller.afterMs + caller.forMs, () => child.kill('SIGCONT'));
      break;
    case 'unread':
      later(caller.afterMs, () => reader.pauseFor(caller.forMs));
      break;
  }
  return { timers, fate };
}
