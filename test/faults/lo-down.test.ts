import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { needs } from '@codex-remote/test/lab';
import { expect, test } from 'vitest';

const run = promisify(execFile);

test('the interface goes down and comes back: away within two heartbeats, nothing lost, nothing double [row 49]', {
  timeout: 180_000,
}, async (context) => {
  needs(context, 'root', 'network namespaces', 'useradd(8)');
  const program = join(import.meta.dirname, 'programs/lo-down.ts');
  const { stdout } = await run('unshare', ['--net', process.execPath, program], { timeout: 170_000 });
  const seen = JSON.parse(stdout) as Record<string, unknown>;
  expect(seen.noticedMs).toBeLessThan(25_000);
  expect(seen).toMatchObject({
    away: { status: 'running', machine_connected: false, as_of: expect.any(String) },
    ended: { status: 'finished', exit_code: 4 },
    starts: 'started\n',
  });
  expect(seen.numbers).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
});
