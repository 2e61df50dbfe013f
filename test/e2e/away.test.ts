import { Cli, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** A machine that was taken down on purpose: known answers come at once, nothing waits for it, also after a restart. */
describe('a machine that was taken down', () => {
  let cli: Cli;

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
    const cmd = 'seq 1 5000; echo last >&2; exit 3';
    await cli.lines(['exec', 'run', '-m', 'local', '--id', 'past', '--cmd', cmd], 3);
    await cli.json(['exec', 'start', '-m', 'local', '--id', 'still', '--cmd', 'sleep 300']);
    // What ended is reported a moment after its caller was answered.
    await waitFor('the end in the history', async () => {
      const { execs } = await cli.json(['exec', 'list', '--status', 'finished']);
      return Array.isArray(execs) && execs.length === 1;
    });
    await cli.json(['machine', 'down', 'local']);
  });
  afterAll(async () => {
    await cli?.json(['machine', 'up', 'local']);
    await cli?.json(['exec', 'cancel', 'still', '--signal', 'KILL']);
    await cli?.close();
  });

  test.each(['', 'after a restart of the controller'])('is not waited for %s', async (restarted) => {
    if (restarted !== '') await cli.json(['controller', 'stop']);
    const quick = { timeoutMs: 12_000 };
    for (const [line, status] of [
      [['exec', 'start', '-m', 'local', '--cmd', 'true'], 1],
      [['exec', 'cancel', 'still'], 1],
    ] as const) {
      const { error } = await cli.json(line, status, quick);
      expect(error).toMatchObject({ code: 'machine_offline', sent: 'no', exec_id: expect.any(String) });
      expect(error).toHaveProperty('hint', expect.stringContaining('machine up -m local'));
    }
    const away = { machine_connected: false, as_of: expect.any(String) };
    expect(await cli.json(['exec', 'result', 'still'], 0, quick)).toMatchObject({
      ...away,
      status: 'running',
    });
    expect(await cli.json(['exec', 'wait', 'past'], 3, quick)).toMatchObject({
      ...away,
      exit_code: 3,
      stderr_tail: 'last\n',
    });
    const tail = await cli.lines(['exec', 'logs', 'past', '--tail', '1'], 0, quick);
    expect(tail.map(({ line }) => line)).toEqual(['5000', 'last', undefined]);
    expect(tail.at(-1)).toMatchObject({ type: 'end', complete: true, ...away });
    const raw = (...more: string[]) =>
      cli.run(['exec', 'logs', 'past', '--stream', 'stdout', '--raw', ...more], quick);
    expect(await raw('--tail', '1')).toMatchObject({ status: 0, stderr: '' });
    const part = await raw('--from', '0');
    expect(part).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/bytes of stdout .* are gone\n.*not all of it\n$/),
    });
    expect(part.stdout.toString().endsWith('5000\n')).toBe(true);
    const watched = await cli.lines(['exec', 'watch', 'past'], 3, quick);
    expect(watched.filter(({ type }) => type === 'gap')).toEqual([
      expect.objectContaining({ stream: 'stdout', offset: 0 }),
    ]);
    expect(watched.at(-1)).toMatchObject({ type: 'finished', exit_code: 3, ...away });
    const unknown = await cli.json(['exec', 'result', 'never-was'], 1, quick);
    expect(unknown.error).toMatchObject({ code: 'exec_not_found', away: ['local'] });
  });
});
