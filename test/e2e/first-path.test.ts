import { Cli, SshLab, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** The first path that a user walks, over real OpenSSH, to a user whose PATH has no Node and whose rc files are noisy. */
describe.each(['ssh2', 'system'] as const)('from a bare host to an exit code, by %s', (transport) => {
  let lab: SshLab;
  let cli: Cli;

  beforeAll(async () => {
    lab = await SshLab.open();
    const config = await lab.writeConfig(lab.hostBlock('gpu-box'));
    cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: config, CODEX_REMOTE_SSH_TRANSPORT: transport });
  });
  afterAll(async () => {
    await cli?.close();
    await lab?.close();
  });

  test('machine check of a host that was never brought up is not ready, and says what to run', async () => {
    const check = await cli.json(['machine', 'check', 'gpu-box']);
    expect(check).toMatchObject({
      machine: 'gpu-box',
      ssh_ok: true,
      daemon_ok: false,
      next_action: 'fix-config',
    });
    expect(check.next_command).toMatch(/machine up .*gpu-box/);
  });

  test('machine up reports its stages, and a second one finds everything in place', async () => {
    const up = await cli.json(['machine', 'up', 'gpu-box']);
    expect(up).toMatchObject({ ok: true, machine: 'gpu-box', connection: 'tunnel', already_up: false });
    const stages = (up.stages as { name: string; status: string; duration_ms: number }[]).map(
      ({ name, status }) => `${name} ${status}`,
    );
    expect(stages).toEqual(
      expect.arrayContaining([
        'connect done',
        'probe done',
        'upload done',
        'init done',
        'start done',
        'tunnel done',
        'dial_in done',
        'canary done',
      ]),
    );
    const again = await cli.json(['machine', 'up', 'gpu-box']);
    expect(again).toMatchObject({ ok: true, already_up: true });
  });

  test('machine check is then ready', async () => {
    const check = await cli.json(['machine', 'check', '-m', 'gpu-box']);
    expect(check).toMatchObject({ ssh_ok: true, daemon_ok: true, connection: 'tunnel' });
    expect(check.latency_ms).toEqual(expect.any(Number));
    expect(check).not.toHaveProperty('error');
  });

  test('exec run gives the output and the exit code of the user there', async () => {
    const lines = await cli.lines(['exec', 'run', '-m', 'gpu-box', '--', 'id', '-un']);
    expect(lines[0]).toMatchObject({ type: 'started', machine: 'gpu-box' });
    expect(lines.find((line) => line.type === 'log')).toMatchObject({
      stream: 'stdout',
      line: lab.user.name,
    });
    expect(lines.at(-1)).toMatchObject({
      type: 'finished',
      status: 'finished',
      exit_code: 0,
      reason: 'exited',
    });
    // Noise of rc files reaches no job's output.
    expect(lines.filter((line) => line.type === 'log')).toHaveLength(1);
  });

  test('a long job: started, watched, followed, waited for', async () => {
    const started = await cli.json([
      'exec',
      'start',
      '-m',
      'gpu-box',
      '--cmd',
      'for i in $(seq 300); do echo $i; sleep 0.02; done; exit 7',
    ]);
    expect(started).toMatchObject({
      machine: 'gpu-box',
      mode: 'async',
      status: 'running',
      next_action: 'wait',
    });
    const id = String(started.exec_id);
    const result = await waitFor('the first line', async () => {
      const now = await cli.json(['exec', 'result', '--id', id]);
      return Number(now.stdout_bytes) > 0 && now;
    });
    expect(result).toMatchObject({ status: 'running', exit_code: null, next_action: 'wait' });
    expect(result.last_line).toMatch(/^\d+$/);
    const tail = await cli.lines(['exec', 'logs', '--id', id, '--tail', '1']);
    expect(tail.filter((line) => line.type === 'log')).toHaveLength(1);
    const followed = await cli.lines(['exec', 'logs', '--id', id, '--follow']);
    const numbers = followed.filter((line) => line.type === 'log').map((line) => Number(line.line));
    expect(numbers.at(-1)).toBe(300);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    expect(followed.at(-1)).toMatchObject({ type: 'end', complete: true });
    const waited = await cli.json(['exec', 'wait', '--id', id], 7);
    expect(waited).toMatchObject({ status: 'finished', exit_code: 7, next_action: 'done' });
  });

  test('machine down keeps running execs, and machine up adopts them', async () => {
    const cmd = 'until [ -e ~/gate ]; do sleep 0.05; done; exit 5';
    const started = await cli.json(['exec', 'start', '-m', 'gpu-box', '--cmd', cmd]);
    const id = String(started.exec_id);
    const before = await waitFor('the pid', async () => {
      const now = await cli.json(['exec', 'result', '--id', id]);
      return now.pid !== undefined && now;
    });
    const down = await cli.json(['machine', 'down', 'gpu-box']);
    expect(down).toMatchObject({ ok: true, stopped: true, running: [id] });
    expect(await cli.json(['machine', 'check', 'gpu-box'])).toMatchObject({ ssh_ok: true, daemon_ok: false });
    const refused = await cli.json(['machine', 'down', 'gpu-box', '--purge'], 1);
    expect(refused).toMatchObject({ error: { code: 'conflict' } });
    await cli.json(['machine', 'up', 'gpu-box']);
    const after = await cli.json(['exec', 'result', '--id', id]);
    expect(after).toMatchObject({ status: 'running', pid: before.pid, started_at: before.started_at });
    await lab.user.write('gate', '');
    expect(await cli.json(['exec', 'wait', '--id', id], 5)).toMatchObject({ reason: 'exited', exit_code: 5 });
  });

  test('machine down --purge removes what was installed once nothing runs', async () => {
    const down = await cli.json(['machine', 'down', 'gpu-box', '--purge']);
    expect(down).toMatchObject({ ok: true, purged: true });
    expect(await lab.user.processes()).toEqual([]);
  });
});
