import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { type Failpoint, ProcessTable } from '@codex-remote/platform';
import { Cli, waitFor } from '@codex-remote/test/lab';
import { encodeLine } from '../../../agent/src/folder/journal.ts';
import type { JournalLine } from '../../../agent/src/folder/stored.ts';

interface Installation {
  readonly home: string;
  readonly node: string;
  readonly bundle: string;
}

/** A user whose programs all have failpoints, with the machine `local`. `close` ends and removes everything. */
export class FailpointLab {
  readonly cli: Cli;
  readonly #processes = new ProcessTable();

  private constructor(cli: Cli) {
    this.cli = cli;
  }

  static async open(env: Readonly<Record<string, string>> = {}): Promise<FailpointLab> {
    return new FailpointLab(await Cli.withFailpoints(env));
  }

  /** A file for the ground truth of a job. */
  file(name: string): string {
    return join(this.cli.home, name);
  }

  /** How often a job wrote down that it began: a wrong report cannot hide. */
  async starts(name: string): Promise<number> {
    const text = await readFile(this.file(`${name}.starts`), 'utf8').catch(() => '');
    return text.split('\n').filter(Boolean).length;
  }

  /** A job that notes its start, then does `then`. Answers with what `exec start` says, also where that is a failure. */
  async start(id: string, then: string, flags: readonly string[] = []): Promise<Record<string, unknown>> {
    const cmd = `echo $$ >>${this.file(`${id}.starts`)}; ${then}`;
    const { stdout } = await this.cli.run([
      'exec',
      'start',
      '-m',
      'local',
      '--id',
      id,
      ...flags,
      '--cmd',
      cmd,
    ]);
    return JSON.parse(stdout.toString()) as Record<string, unknown>;
  }

  /** Waits until the job has written a line. */
  async ready(id: string): Promise<void> {
    await waitFor(
      `output of ${id}`,
      async () => Number((await this.cli.json(['exec', 'result', '--id', id])).stdout_bytes) > 0,
    );
  }

  /** The journal of an exec once it has a line of this kind. */
  async noted(what: string, id: string): Promise<string> {
    const { home } = await this.installation();
    return waitFor(`${what} in the journal of ${id}`, async () => {
      const text = await readFile(join(home, 'execs', id, 'journal'), 'utf8');
      return text.includes(`{"${what}"`) && text;
    });
  }

  /** As if the exec had ended, and been acknowledged, so long ago. Only while no agent runs. */
  async age(id: string, ms: number): Promise<void> {
    const { home } = await this.installation();
    const path = join(home, 'execs', id, 'journal');
    const lines = (await readFile(path, 'utf8')).split('\n').filter(Boolean);
    const aged = lines.map((text) => {
      const { sum: _, ...line } = JSON.parse(text) as JournalLine & { sum: string };
      const { end } = line;
      if (end && 'ended_at' in end && end.ended_at)
        end.ended_at = new Date(Date.parse(end.ended_at) - ms).toISOString();
      if (line.acknowledged_ms !== undefined) line.acknowledged_ms -= ms;
      return encodeLine(line);
    });
    await writeFile(path, aged.join(''));
  }

  async installation(): Promise<Installation> {
    const { machines } = JSON.parse(await readFile(join(this.cli.home, 'config/registry.json'), 'utf8')) as {
      machines: { name: string; installation: Installation }[];
    };
    const local = machines.find(({ name }) => name === 'local');
    if (!local) throw new Error('the machine local was never brought up');
    return local.installation;
  }

  async agentProcess(): Promise<{ pid: number; start: number }> {
    const { home } = await this.installation();
    return JSON.parse(await readFile(join(home, 'agent.json'), 'utf8')) as { pid: number; start: number };
  }

  /**
   * Another agent takes over, one that nothing starts again; it does at `point` what `action` says. Returns once the
   * controller has it.
   */
  async restartAgent(point?: Failpoint, action = 'exit9'): Promise<void> {
    await this.stopAgent();
    await this.startAgent(point, action);
    await waitFor(
      'the agent to be connected',
      async () => (await this.cli.json(['machine', 'show', 'local'])).connected === true,
      30_000,
    );
  }

  /** Waits until the agent has died at its failpoint, then starts one that has none. */
  async replaceDeadAgent(point: Failpoint): Promise<void> {
    const agent = await this.agentProcess();
    await waitFor(`the agent to die at ${point}`, () => !this.#processes.isAlive(agent), 30_000);
    await this.startAgent();
  }

  /** A controller that does at `point` what `action` says; the next one that a command starts does not. */
  async restartController(point?: Failpoint, action = 'exit9'): Promise<number> {
    await this.cli.json(['controller', 'stop']);
    await this.cli.json(['controller', 'start'], 0, point && { env: { CR_FP: `${point}:${action}` } });
    const pid = await this.cli.controllerPid();
    if (pid === undefined) throw new Error('no controller runs');
    return pid;
  }

  /** Waits until the controller `pid` has died at its failpoint. */
  async controllerDied(point: Failpoint, pid: number): Promise<void> {
    const dead = (): boolean => {
      const stat = this.#processes.stat(pid);
      return !stat || !this.#processes.isAlive(stat);
    };
    await waitFor(`the controller to die at ${point}`, dead, 30_000);
  }

  async close(): Promise<void> {
    await this.cli.close();
  }

  async startAgent(point?: Failpoint, action = 'exit9'): Promise<void> {
    const env = point && { CR_FP: `${point}:${action}` };
    const { node, bundle, home } = await this.installation();
    const words = ['daemon', '--home', home, '--service', 'bare', '--ready-fd', '3'];
    const child = spawn(node, [bundle, ...words], {
      env: { ...this.cli.env, ...env },
      cwd: '/',
      detached: true,
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    });
    // Closed once it serves.
    const ready = child.stdio[3] as Readable;
    ready.resume();
    await once(ready, 'close');
    child.unref();
  }

  async stopAgent(): Promise<void> {
    const { node, bundle, home } = await this.installation();
    const child = spawn(node, [bundle, 'stop', '--home', home], { env: this.cli.env, stdio: 'ignore' });
    const [code] = await once(child, 'close');
    if (code !== 0) throw new Error(`agent stop: exit ${code}`);
  }
}
