import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ProcessTable } from '@codex-remote/platform';
import { Cli, sized, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const table = new ProcessTable();
/** Two heartbeats and their slack: by then both sides know that nobody answers. */
const noticedMs = 30_000;

/** The processes of ours are killed, stopped and interrupted, and the job tells by itself what became of it. */
describe('a machine whose processes are killed and stopped', () => {
  let cli: Cli;
  let home: string;

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
    home = String((await cli.json(['machine', 'show', 'local'])).agent_home);
  });
  afterAll(() => cli?.close());

  const agentPid = async () => Number(JSON.parse(await readFile(join(home, 'agent.json'), 'utf8')).pid);
  const controllerPid = async () => {
    const pid = await cli.controllerPid();
    if (pid === undefined) throw new Error('no controller runs');
    return pid;
  };
  const result = (id: string) => cli.json(['exec', 'result', '--id', id]);
  const connected = (wanted: boolean) =>
    waitFor(
      `connected to be ${wanted}`,
      async () => (await cli.json(['machine', 'show', 'local'])).connected === wanted,
      noticedMs,
    );

  /** A job that notes its pid, its start time and its exit in a file of its own, says numbers, and ends when told. */
  async function startWitness(name: string): Promise<Witness> {
    const truth = join(cli.home, `${name}.truth`);
    const end = join(cli.home, `${name}.end`);
    const cmd = `
      read -r stat </proc/$$/stat; echo "start $stat" >>${truth}
      trap 'code=$?; echo "exit $code" >>${truth}; exit $code' EXIT
      i=0; while [ ! -e ${end} ]; do i=$((i + 1)); echo $i; sleep 0.02; done
      exit 7`;
    const { exec_id } = await cli.json(['exec', 'start', '-m', 'local', '--cmd', cmd]);
    const lines = async () => (await readFile(truth, 'utf8')).trim().split('\n');
    const started = await waitFor('the start', async () => (await lines().catch(() => []))[0]);
    const words = started.split(' ');
    const [pid, start] = [Number(words[1]), Number(words[22])];
    return {
      id: String(exec_id),
      pid,
      lives: () => table.isAlive({ pid, start }),
      end: async () => {
        await cli.run(['exec', 'run', '-m', 'local', '--cmd', `: >${end}`]);
        const finished = await cli.json(['exec', 'wait', '--id', String(exec_id)], 7);
        const { stdout } = await cli.run([
          'exec',
          'logs',
          '--id',
          String(exec_id),
          '--raw',
          '--stream',
          'stdout',
          '--from',
          '0',
        ]);
        const numbers = stdout.toString().trim().split('\n').map(Number);
        expect(numbers).toEqual(Array.from(numbers, (_, i) => i + 1));
        expect((await lines()).map((line) => line.split(' ')[0])).toEqual(['start', 'exit']);
        return finished;
      },
    };
  }

  test('the agent is killed again and again: the job keeps its pid, and its code comes once [row 1]', async () => {
    const job = await startWitness('again');
    for (let kill = 0; kill < sized({ ci: 10, full: 50 }); kill++) {
      process.kill(await agentPid(), 'SIGKILL');
      await cli.json(['machine', 'up', 'local']);
      expect(job.lives()).toBe(true);
      expect(await result(job.id)).toMatchObject({ status: 'running', pid: job.pid });
    }
    expect(await job.end()).toMatchObject({ status: 'finished', reason: 'exited', exit_code: 7 });
  });

  test('agent and controller are both killed: all is there once both are back [row 11]', async () => {
    const job = await startWitness('both');
    for (const pid of [await agentPid(), await controllerPid()]) process.kill(pid, 'SIGKILL');
    expect(await result(job.id)).toMatchObject({ status: 'running', machine_connected: false });
    expect(job.lives()).toBe(true);
    await cli.json(['machine', 'up', 'local']);
    expect(await result(job.id)).toMatchObject({ status: 'running', pid: job.pid });
    expect(await job.end()).toMatchObject({ reason: 'exited', exit_code: 7 });
  });

  test('a second agent on the same home is refused; of three that race for that of a killed one, one serves [row 26]', async () => {
    const { pid, bundle } = JSON.parse(await readFile(join(home, 'agent.json'), 'utf8'));
    const agent = async (...args: string[]) => {
      const child = spawn(process.execPath, [bundle, ...args, '--home', home], { env: cli.env });
      let said = '';
      child.stdout.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
      await once(child, 'close');
      return said === '' ? undefined : (JSON.parse(said) as Record<string, unknown>);
    };
    // It waits a moment for the home, then it is not wanted: no crash that its keeper would answer with another start.
    expect(await agent('daemon')).toBeUndefined();
    expect(await agentPid()).toBe(pid);
    expect(table.stat(pid)?.state).toMatch(/[RSD]/);
    process.kill(pid, 'SIGKILL');
    const answers = await Promise.all([agent('start'), agent('start'), agent('start')]);
    // One that began before another served can have taken over from it: the last one stays.
    expect(answers.flatMap((answer) => (answer?.ok ? [answer.pid] : []))).toContain(await agentPid());
    const daemons = table.all().filter((stat) => cmdline(stat.pid).includes(`daemon --home ${home}`));
    expect(daemons.map((stat) => stat.pid)).toEqual([await agentPid()]);
  });

  test('the agent is stopped: away, not dead; it returns as one session, with the job as it was [row 13]', {
    timeout: 240_000,
  }, async () => {
    const job = await startWitness('stopped-agent');
    const pid = await agentPid();
    const before = await sessions();
    process.kill(pid, 'SIGSTOP');
    try {
      await connected(false);
      await sleep(sized({ ci: 0, full: 60_000 }));
      expect(await result(job.id)).toMatchObject({
        status: 'running',
        machine_connected: false,
        as_of: expect.any(String),
      });
      expect(job.lives()).toBe(true);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await connected(true);
    expect(await agentPid()).toBe(pid);
    expect(await job.end()).toMatchObject({ reason: 'exited', exit_code: 7 });
    // One connection for the one that was lost, and it stays.
    expect(await sessions()).toBe(before + 1);
  });

  test('the controller is stopped in a flood of logs: the agent holds no more, and a follower gets each byte once [row 14]', {
    timeout: 240_000,
  }, async () => {
    const bytes = sized({ ci: 200, full: 4_000 }) * 1_000_000;
    const { exec_id } = await cli.json([
      'exec',
      'start',
      '-m',
      'local',
      // A follower that is stopped for long would meet a gap.
      '--log-limit',
      '8GiB',
      '--cmd',
      `yes 0123456789abcde | head -c ${bytes} | tee >(sha256sum >${join(cli.home, 'flood.sha')})`,
    ]);
    const follower = cli.spawn([
      'exec',
      'logs',
      '--id',
      String(exec_id),
      '--raw',
      '--stream',
      'stdout',
      '--from',
      '0',
      '--follow',
    ]);
    const hash = createHash('sha256');
    let got = 0;
    follower.stdout.on('data', (chunk: Buffer) => {
      hash.update(chunk);
      got += chunk.byteLength;
    });
    let said = '';
    follower.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const closed = once(follower, 'close');
    await waitFor('the first bytes', () => got > 1_000_000);
    const [agent, controller] = [await agentPid(), await controllerPid()];
    process.kill(controller, 'SIGSTOP');
    const held: number[] = [];
    try {
      // Past both heartbeats, and several dials that nobody answers.
      for (let waited = 0; waited < sized({ ci: 15_000, full: 60_000 }); waited += 500) {
        held.push(await residentBytes(agent));
        await sleep(500);
      }
    } finally {
      process.kill(controller, 'SIGCONT');
    }
    expect(Math.max(...held)).toBeLessThan(200 * 1024 * 1024);
    expect([(await closed)[0], said]).toEqual([0, '']);
    expect(got).toBe(bytes);
    expect(hash.digest('hex')).toBe((await readFile(join(cli.home, 'flood.sha'), 'utf8')).slice(0, 64));
    expect(await controllerPid()).toBe(controller);
  });

  test('a logout that kills every process of the user: lost, never run again, the machine comes back [row 30]', async () => {
    const job = await startWitness('logout');
    const journal = await readFile(join(home, 'execs', job.id, 'journal'), 'utf8');
    const shim = Number(/"shim":\{"pid":(\d+)/.exec(journal)?.[1]);
    const tree = table.all().filter((stat) => stat.session === shim || stat.session === job.pid);
    for (const pid of [await agentPid(), ...tree.map((stat) => stat.pid)]) kill(pid);
    await cli.json(['machine', 'up', 'local']);
    expect(await result(job.id)).toMatchObject({
      status: 'lost',
      reason: 'no_record',
      exit_code: null,
      safe_to_retry: false,
      next_action: 'fix-config',
    });
    expect(await readFile(join(cli.home, 'logout.truth'), 'utf8')).not.toContain('exit');
  });

  /** Lines of the controller's log that tell of a connection of the machine. */
  async function sessions(): Promise<number> {
    const { stdout } = await cli.run(['controller', 'logs', '--tail', '10000']);
    return stdout.toString().split('machine connected').length - 1;
  }
});

interface Witness {
  readonly id: string;
  readonly pid: number;
  /** The very process that wrote its start. */
  lives(): boolean;
  /** Lets it end: its output and its own account of itself are checked, and its end is returned. */
  end(): Promise<Record<string, unknown>>;
}

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) * 1024;
}

function cmdline(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended with the one before.
  }
}
