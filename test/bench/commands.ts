import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Cli, cliProgram, freePort, SshLab, TcpProxy, waitFor } from '../src/lab/index.ts';
import { benchRounds, round, sideBySide, timeProcess } from './measure.ts';

/** Whole processes, as a user starts them, beside their peers. Ratios are to the medians of the same run. */
export async function wholeCommands(): Promise<unknown> {
  const lab = await SshLab.open();
  const config = await lab.writeConfig(lab.hostBlock('box'));
  const cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: config });
  const direct = await Cli.open();
  const tls = await reachedDirectly(lab);
  try {
    await cli.json(['machine', 'up', 'box']);
    await direct.json(['machine', 'up', 'local']);
    return await processes({ lab, config, cli, direct, tls });
  } finally {
    await tls.close();
    await direct.close();
    await cli.close();
    await lab.close();
  }
}

/** A user whose machine `box` dials the controller's port: its tunnel is gone, and it keeps the way on which it came. */
async function reachedDirectly(lab: SshLab): Promise<Cli> {
  const proxy = await TcpProxy.open(lab.server.port);
  const cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: await lab.configThrough(proxy) });
  const listen = `127.0.0.1:${await freePort()}`;
  await cli.json(['controller', 'start', '--listen', listen, '--public-url', `https://${listen}`]);
  await cli.json(['machine', 'up', 'box']);
  await proxy.close();
  await waitFor('a direct connection', async () => {
    const { connected, connection } = await cli.json(['machine', 'show', 'box']);
    return connected === true && connection === 'direct';
  });
  return cli;
}

interface Places {
  readonly lab: SshLab;
  readonly config: string;
  /** Has the machine `box`, over SSH. */
  readonly cli: Cli;
  /** Has the machine `local`. */
  readonly direct: Cli;
  /** Has the machine `box`, which dials the controller's port. */
  readonly tls: Cli;
}

async function processes({ lab, config, cli, direct, tls }: Places): Promise<unknown> {
  const empty = join(cli.home, 'empty.cjs');
  await writeFile(empty, '');
  const control = join(lab.dir, 'cm');
  const ssh = (...more: string[]) => ['-F', config, '-o', 'BatchMode=yes', ...more, 'box', 'true'];
  const master = ['-o', 'ControlMaster=auto', '-o', `ControlPath=${control}`, '-o', 'ControlPersist=60'];
  const figures = await sideBySide(benchRounds, {
    node_empty_file: () => timeProcess(process.execPath, [empty], cli.env),
    exec_run_true_local: () =>
      timeProcess(cliProgram, ['exec', 'run', '-m', 'local', '--', 'true'], direct.env),
    exec_run_true_over_ssh: () =>
      timeProcess(cliProgram, ['exec', 'run', '-m', 'box', '--', 'true'], cli.env),
    exec_run_true_over_tls: () =>
      timeProcess(cliProgram, ['exec', 'run', '-m', 'box', '--', 'true'], tls.env),
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
    exec_run_over_tls: { median_ms: figures.exec_run_true_over_tls?.median },
    exec_run_over_ssh_to_control_master: { ratio: ratio('exec_run_true_over_ssh', 'ssh_control_master') },
    machine_check: { median_ms: figures.machine_check_over_ssh?.median, goal: '<= 120' },
  };
}
