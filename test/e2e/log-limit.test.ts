import { Cli, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** What users see of a log that has a limit. The smallest limit there is keeps it quick. */
describe('an exec that writes more than --log-limit', () => {
  const limit = 1024 * 1024;
  const lineBytes = 64;
  let cli: Cli;

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
  });
  afterAll(() => cli?.close());

  /** `count` numbered lines of 64 bytes each. */
  const numbered = (count: number) => `awk 'BEGIN { for (i = 0; i < ${count}; i++) printf "%063d\\n", i }'`;
  const start = (id: string, cmd: string, ...more: string[]) =>
    cli.json(['exec', 'start', '-m', 'local', '--id', id, '--log-limit', '1M', ...more, '--cmd', cmd]);

  test('keeps its newest output: the gap is a record, what follows is exact, and the answer counts what went', async () => {
    const count = (16 * limit) / lineBytes;
    await start('dropping', `${numbered(count)}; sleep 600`);
    const result = await waitFor('old bytes to be given back', async () => {
      const now = await cli.json(['exec', 'result', '--id', 'dropping']);
      const all = Number(now.stdout_bytes) === count * lineBytes;
      return all && count * lineBytes - Number(now.stdout_dropped_bytes) <= 2 * limit && now;
    });
    const args = ['exec', 'logs', '--id', 'dropping', '--stream', 'stdout', '--from', '0'];
    const [gap, ...lines] = await cli.lines(args);
    expect(gap).toMatchObject({ type: 'gap', stream: 'stdout', offset: 0 });
    // More can have gone since.
    expect(gap?.missing).toBeGreaterThanOrEqual(Number(result.stdout_dropped_bytes));
    // The first line can have lost its beginning.
    const whole = lines.filter(({ line }) => String(line).length === lineBytes - 1);
    const first = Number(whole[0]?.line);
    expect(whole.map(({ line }) => Number(line))).toEqual(
      Array.from({ length: count - first }, (_, i) => first + i),
    );
    expect(whole.every((line) => line.offset === Number(line.line) * lineBytes)).toBe(true);
    const raw = await cli.run([...args, '--raw']);
    const missing = Number(/(\d+) bytes/.exec(raw.stderr)?.[1]);
    expect(missing + raw.stdout.byteLength).toBe(count * lineBytes);
    const some = await cli.run([...args, '--raw', '--grep', '7$']);
    expect(some.stderr).toMatch(/\d+ bytes of stdout from offset 0 on are gone/);
    const cut = await cli.run([...args, '--raw', '--max-bytes', '20']);
    expect(cut.stdout.byteLength).toBe(20);
    expect(cut.stderr).toContain('there is more; next: codex-remote exec logs --id dropping --cursor ');
    await cli.json(['exec', 'cancel', '--id', 'dropping', '--grace', '0s']);
  });

  test('with --log-limit-action cancel it is ended, and the answer says by what', async () => {
    await start('ended', 'exec cat /dev/zero', '--log-limit-action', 'cancel');
    const ended = await cli.lines(['exec', 'watch', '--id', 'ended', '--brief', '--max-wait', '50s'], 143);
    expect(ended.at(-1)).toMatchObject({
      type: 'finished',
      reason: 'cancelled',
      cancelled_by: 'log_limit',
      exit_code: 143,
    });
  });

  test.each([['0'], ['10'], ['lots']])('--log-limit %s is wrong usage', async (size) => {
    const args = ['exec', 'start', '-m', 'local', '--log-limit', size, '--cmd', 'true'];
    expect(await cli.json(args, 2)).toMatchObject({ error: { code: 'usage', sent: 'no' } });
  });
});
