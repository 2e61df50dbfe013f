import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { cpus, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { ControllerClient } from '@codex-remote/client';
import { controllerPaths, newId } from '@codex-remote/platform';
import type { ExecSpec } from '@codex-remote/protocol/schema';
import { Cli, cliProgram, SshLab } from '../src/lab/index.ts';
import { type Figure, round, sideBySide, summarise, timeProcess } from './measure.ts';

/**
 * The first suite: what a user waits for. Peers (`node` on an empty file, `ssh`, `ssh` with ControlMaster) run in the same
 * rounds. One JSON result on stdout and in `bench-results/`.
 */
const rounds = Number(process.env.CR_BENCH_ROUNDS ?? 30);
const logBytes = 2 * 1024 ** 3;

const lab = await SshLab.open();
const config = await lab.writeConfig(lab.hostBlock('box'));
const cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: config });
const direct = await Cli.open();
try {
  await cli.json(['machine', 'up', 'box']);
  await direct.json(['machine', 'up', 'local']);
  const results = {
    at: new Date().toISOString(),
    machine: {
      cpus: cpus().length,
      model: cpus()[0]?.model,
      memory_bytes: totalmem(),
      node: process.version,
    },
    // One, five and fifteen minutes, before the first measurement: above a fraction of the cores the figures are not worth much.
    load_average: loadavg().map(round),
    processes: await processes(),
    warm_exec_true: await warmExec(),
    log_throughput: await logThroughput(),
    agent_idle_rss_mb: await agentRss(),
  };
  const folder = join(import.meta.dirname, '../../bench-results');
  await mkdir(folder, { recursive: true });
  await writeFile(
    join(folder, `${results.at.replaceAll(':', '-')}.json`),
    `${JSON.stringify(results, undefined, 2)}\n`,
  );
  process.stdout.write(`${JSON.stringify(results, undefined, 2)}\n`);
} finally {
  await direct.close();
  await cli.close();
  await lab.close();
}

/** Whole processes, as a user starts them. Ratios are to the medians of the same run. */
async function processes(): Promise<unknown> {
  const empty = join(cli.home, 'empty.cjs');
  await writeFile(empty, '');
  const control = join(lab.dir, 'cm');
  const ssh = (...more: string[]) => ['-F', config, '-o', 'BatchMode=yes', ...more, 'box', 'true'];
  const master = ['-o', 'ControlMaster=auto', '-o', `ControlPath=${control}`, '-o', 'ControlPersist=60'];
  const figures = await sideBySide(rounds, {
    node_empty_file: () => timeProcess(process.execPath, [empty], cli.env),
    exec_run_true_local: () =>
      timeProcess(cliProgram, ['exec', 'run', '-m', 'local', '--', 'true'], direct.env),
    exec_run_true_over_ssh: () =>
      timeProcess(cliProgram, ['exec', 'run', '-m', 'box', '--', 'true'], cli.env),
    machine_check_over_ssh: () => timeProcess(cliProgram, ['machine', 'check', '-m', 'box'], cli.env),
    ssh_fresh: () => timeProcess('ssh', ssh(), cli.env),
    ssh_control_master: () => timeProcess('ssh', ssh(...master), cli.env),
  });
  await timeProcess('ssh', ['-F', config, '-o', `ControlPath=${control}`, '-O', 'exit', 'box'], {
    ...cli.env,
  }).catch(() => undefined);
  const ratio = (a: string, b: string): number =>
    round((figures[a]?.median ?? Number.NaN) / (figures[b]?.median ?? Number.NaN));
  return {
    figures,
    exec_run_to_node: { ratio: ratio('exec_run_true_local', 'node_empty_file'), goal: '<= 1.6' },
    exec_run_over_ssh_to_ssh_fresh: { ratio: ratio('exec_run_true_over_ssh', 'ssh_fresh'), goal: '< 1' },
    exec_run_over_ssh_to_control_master: { ratio: ratio('exec_run_true_over_ssh', 'ssh_control_master') },
    machine_check: { median_ms: figures.machine_check_over_ssh?.median, goal: '<= 120' },
  };
}

/** A client that stays: start to finished of `true`, all durability included. */
async function warmExec(): Promise<Figure & { goal: string }> {
  const client = new ControllerClient({ socket: controllerPaths(direct.env).socket });
  const once = async (): Promise<number> => {
    const began = performance.now();
    for await (const record of client.runExec({ machine: 'local', spec: specOf('true'), connectWaitMs: 0 })) {
      if (
        record.kind === 'event' &&
        typeof record.value === 'object' &&
        record.value !== null &&
        'finished' in record.value
      )
        return performance.now() - began;
    }
    throw new Error('the stream ended before the exec');
  };
  for (let i = 0; i < 20; i++) await once();
  const sample: number[] = [];
  for (let i = 0; i < rounds * 10; i++) sample.push(await once());
  return { ...summarise(sample, 'ms'), goal: 'median <= 7' };
}

/** Raw bytes of a finished log from agent to client, over the controller's socket. */
async function logThroughput(): Promise<unknown> {
  await direct.lines([
    'exec',
    'run',
    '-m',
    'local',
    '--id',
    'big-log',
    '--brief',
    '--cmd',
    `head -c ${logBytes} /dev/zero`,
  ]);
  const client = new ControllerClient({ socket: controllerPaths(direct.env).socket });
  const sample: number[] = [];
  for (let i = 0; i < 3; i++) {
    const began = performance.now();
    let bytes = 0;
    for await (const record of client.logs({ id: 'big-log' }, { streams: ['stdout'], follow: false })) {
      if (record.kind === 'data') bytes += record.bytes.byteLength;
    }
    if (bytes !== logBytes) throw new Error(`${bytes} of ${logBytes} bytes came`);
    sample.push(bytes / 1e6 / ((performance.now() - began) / 1000));
  }
  return { ...summarise(sample, 'MB/s'), goal: '>= 400' };
}

async function agentRss(): Promise<unknown> {
  const machine = await direct.json(['machine', 'show', 'local']);
  const { pid } = JSON.parse(await readFile(join(String(machine.agent_home), 'agent.json'), 'utf8')) as {
    pid: number;
  };
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kilobytes = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
  // A fresh agent that has served one check: the one above has just sent gigabytes.
  const fresh = await Cli.open();
  try {
    await fresh.json(['machine', 'up', 'local']);
    const home = String((await fresh.json(['machine', 'show', 'local'])).agent_home);
    const idle = JSON.parse(await readFile(join(home, 'agent.json'), 'utf8')) as { pid: number };
    const idleStatus = await readFile(`/proc/${idle.pid}/status`, 'utf8');
    return {
      idle: round(Number(/^VmRSS:\s+(\d+) kB$/m.exec(idleStatus)?.[1]) / 1024),
      after_throughput: round(kilobytes / 1024),
      goal: 'idle <= 75',
    };
  } finally {
    await fresh.close();
  }
}

function specOf(program: string): ExecSpec {
  return {
    exec_id: newId(Date.now()),
    command: { kind: 'argv', argv: [program] },
    env: {},
    stdin: false,
    merge: false,
    mode: 'run',
  };
}
