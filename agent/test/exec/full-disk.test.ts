import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { shells } from '../support/shim-lab.ts';

/** Some kernels forbid user namespaces; then a full disk cannot be had without root, and the tests say so. */
const inNamespace = ['-rm', process.execPath];
const allowed = spawnSync('unshare', ['-rm', 'true']).status === 0;
const title = allowed ? 'a full disk' : 'a full disk (skipped: unshare -rm is not permitted here)';

const dir = mkdtempSync(join(tmpdir(), 'full-'));
afterAll(() => rmSync(dir, { recursive: true }));

function run(shell: string, what: string): Record<string, unknown> {
  const fixture = join(import.meta.dirname, '../fixtures/full-disk.ts');
  const output = execFileSync('unshare', [...inNamespace, fixture, shell, dir, what], { encoding: 'utf8' });
  return JSON.parse(output);
}

describe.skipIf(!allowed)(title, () => {
  it.each(shells)('loses no exit code, and the job is not held up by it (%s) [row 31]', (shell) => {
    expect(run(shell, 'exit')).toMatchObject({ exitCode: 7, freeBytes: 0, torn: ['stdout'] });
  });

  it.each(shells)(
    'gives the job no SIGPIPE, and what follows is kept once there is room (%s) [row 32]',
    (shell) => {
      const result = run(shell, 'resume');
      expect(result).toMatchObject({ exitCode: 5, torn: ['stdout'], stderr: 'end\n' });
      // What one cat had in its hands is lost: 128 KiB at most.
      expect(result.bytes).toBeGreaterThanOrEqual(600_000 - 128 * 1024);
      expect(result.bytes).toBeLessThan(600_000);
    },
  );
});
