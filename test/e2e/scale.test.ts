import { Cli } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

describe('many at once on one machine', () => {
  let cli: Cli;

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
  });
  afterAll(() => cli?.close());

  test('200 execs started concurrently are all exact', { timeout: 180_000 }, async () => {
    const ids = Array.from({ length: 200 }, (_, i) => `many-${i}`);
    // Twenty callers at a time keep twenty CLI processes alive; the machine sees the execs overlap all the same.
    const queue = [...ids.entries()];
    const worker = async (): Promise<void> => {
      for (let next = queue.shift(); next; next = queue.shift()) {
        const [i, id] = next;
        await cli.json([
          'exec',
          'start',
          '-m',
          'local',
          '--id',
          id,
          '--cmd',
          `echo out ${i}; echo err ${i} >&2; sleep 2; exit ${i % 100}`,
        ]);
      }
    };
    await Promise.all(Array.from({ length: 20 }, worker));
    const results = await cli.lines(['exec', 'wait', ...ids.flatMap((id) => ['--id', id])], 1, {
      timeoutMs: 120_000,
    });
    const execs = (results[0]?.execs ?? results) as Record<string, unknown>[];
    expect(execs).toHaveLength(200);
    for (const exec of execs) {
      const i = Number(String(exec.exec_id).slice('many-'.length));
      expect(exec).toMatchObject({
        status: 'finished',
        exit_code: i % 100,
        stdout_tail: `out ${i}\n`,
        stderr_tail: `err ${i}\n`,
      });
    }
  });

  test('50 followers of one exec all see every line once', { timeout: 120_000 }, async () => {
    await cli.json([
      'exec',
      'start',
      '-m',
      'local',
      '--id',
      'popular',
      '--cmd',
      'for i in $(seq 2000); do echo line $i; done; sleep 1; seq 2001 4000 | sed "s/^/line /"',
    ]);
    const followers = await Promise.all(
      Array.from({ length: 50 }, () =>
        cli.run(
          ['exec', 'logs', '--id', 'popular', '--follow', '--raw', '--from', '0', '--stream', 'stdout'],
          { timeoutMs: 100_000 },
        ),
      ),
    );
    const expected = Array.from({ length: 4000 }, (_, i) => `line ${i + 1}\n`).join('');
    for (const { stdout, status } of followers) {
      expect(status).toBe(0);
      expect(stdout.toString()).toBe(expected);
    }
  });
});
