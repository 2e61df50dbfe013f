import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Failpoint } from '@codex-remote/platform';
import type { ExecSpec, SignalName } from '@codex-remote/protocol/schema';

/** The fixture of the same name: another process that has the store of a home. */
export class AgentProcess {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;

  /**
   * `dies`: where it kills itself; `name:2` is the second time that it comes there. `under`: a program that runs it, with
   * arguments, such as setpriv(1).
   */
  constructor(home: string, dies?: Failpoint | `${Failpoint}:${number}`, under: readonly string[] = []) {
    const [name, nth] = dies?.split(':') ?? [];
    const fixture = join(import.meta.dirname, '../fixtures/agent-process.ts');
    const [program = '', ...args] = [...under, process.execPath, fixture, home];
    this.child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, ...(name && { CR_FP: [name, 'exit9', ...(nth ? [nth] : [])].join(':') }) },
    });
    if (!this.child.stdout) throw new Error('no stdout');
    this.#reader = createInterface(this.child.stdout);
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  async ready(): Promise<this> {
    const { done } = await this.#lines.next();
    if (done) throw new Error('the agent ended before it was ready');
    return this;
  }

  /** The answer, or undefined when the process ended instead. */
  start(spec: ExecSpec): Promise<unknown> {
    return this.#call('start', spec);
  }

  receive(project: string, commit: string, pack: Buffer): Promise<unknown> {
    return this.#call('receive', project, commit, pack.toString('base64'));
  }

  cancel(id: string, signal: SignalName, graceMs: number): Promise<unknown> {
    return this.#call('cancel', id, signal, graceMs);
  }

  get(id: string): Promise<unknown> {
    return this.#call('get', id);
  }

  ended(id: string): Promise<unknown> {
    return this.#call('ended', id);
  }

  /** One at a time: answers come in the order in which they are ready. */
  async #call(...call: unknown[]): Promise<unknown> {
    this.child.stdin?.write(`${JSON.stringify(call)}\n`);
    const line = await this.#lines.next();
    return line.done ? undefined : JSON.parse(line.value);
  }

  /** Resolves when the process has ended by itself. */
  async died(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, 'exit');
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
    this.#reader.close();
  }
}
