import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecSpec, ExecState } from '@codex-remote/protocol/schema';

/** A real process with its output in memory: what an agent keeps in a folder. */
export class Job {
  readonly spec: ExecSpec;
  readonly #child: ChildProcess;
  readonly #acceptedAt = new Date();
  readonly output: { stdout: Buffer; stderr: Buffer } = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) };
  #ended: { code: number; signal: string | undefined; at: Date } | undefined;
  #cancelled = false;
  #folder: string | undefined;
  #listeners = new Set<() => void>();

  constructor(spec: ExecSpec, script: Buffer, stdin: Buffer) {
    this.spec = spec;
    const { command } = spec;
    const [program = 'sh', ...args] =
      command.kind === 'argv' ? command.argv : ['bash', '--norc', ...this.#shellWords(script)];
    this.#child = spawn(program, args, {
      env: { PATH: process.env.PATH, ...spec.env },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      ...(spec.cwd ? { cwd: spec.cwd } : {}),
    });
    this.#child.stdin?.on('error', () => {});
    this.#child.stdin?.end(spec.stdin ? stdin : '');
    for (const name of ['stdout', 'stderr'] as const) {
      this.#child[name]?.on('data', (chunk: Buffer) => {
        this.output[name] = Buffer.concat([this.output[name], chunk]);
        this.#changed();
      });
    }
    this.#child.on('error', () => this.#end(127, undefined));
    this.#child.on('close', (code, signal) =>
      this.#end(code ?? 128 + (signal === 'SIGKILL' ? 9 : signal === 'SIGINT' ? 2 : 15), signal ?? undefined),
    );
  }

  /** A script is a file: one of megabytes is no argument. */
  #shellWords(script: Buffer): string[] {
    if (this.spec.command.kind === 'cmd') return ['-c', this.spec.command.cmd];
    this.#folder = mkdtempSync(join(tmpdir(), 'cr-job-'));
    writeFileSync(join(this.#folder, 'script'), script);
    return [join(this.#folder, 'script')];
  }

  get over(): boolean {
    return this.#ended !== undefined;
  }

  state(): ExecState {
    const { spec } = this;
    const common = {
      exec_id: spec.exec_id,
      digest: JSON.stringify(spec.command),
      mode: spec.mode,
      command: JSON.stringify(spec.command).slice(0, 200),
      ...(spec.label === undefined ? {} : { label: spec.label }),
      ...(spec.session === undefined ? {} : { session: spec.session }),
      accepted_at: this.#acceptedAt.toISOString(),
      started_at: this.#acceptedAt.toISOString(),
      stdout_bytes: this.output.stdout.byteLength,
      stderr_bytes: this.output.stderr.byteLength,
    };
    if (this.#ended === undefined) return { ...common, status: 'running' };
    const { code, signal, at } = this.#ended;
    return {
      ...common,
      status: 'finished',
      reason: this.#cancelled ? 'cancelled' : signal === undefined ? 'exited' : 'signaled',
      exit_code: code,
      ...(signal === undefined ? {} : { signal }),
      ended_at: at.toISOString(),
      duration_ms: at.getTime() - this.#acceptedAt.getTime(),
    };
  }

  /** Resolves at the next output or at the end. */
  change(): Promise<void> {
    return new Promise((resolve) => {
      const once = () => {
        this.#listeners.delete(once);
        resolve();
      };
      this.#listeners.add(once);
    });
  }

  cancel(signal: 'INT' | 'TERM' | 'KILL'): void {
    this.#cancelled = true;
    this.kill(`SIG${signal}`);
  }

  /** Ends what the job has started too: it is the leader of its group. */
  kill(signal: NodeJS.Signals): void {
    if (this.over || this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, signal);
    } catch {
      // Ended in between.
    }
  }

  #end(code: number, signal: string | undefined): void {
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
    this.#ended ??= { code, signal, at: new Date() };
    this.#changed();
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
