import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';

/** Some kernels forbid user namespaces; then a full disk cannot be had without root, and the tests say so. */
const allowed = spawnSync('unshare', ['-rm', 'true']).status === 0;
const title = allowed ? 'a full disk' : 'a full disk (skipped: unshare -rm is not permitted here)';

const dir = mkdtempSync(join(tmpdir(), 'full-git-'));
afterAll(() => rmSync(dir, { recursive: true }));

describe.skipIf(!allowed)(title, () => {
  test('is told, before anything is accepted and by a diff, and leaves nothing half there', () => {
    mkdirSync(join(dir, 'disk'));
    const fixture = join(import.meta.dirname, '../fixtures/full-disk-git.ts');
    const args = ['-rm', process.execPath, fixture, join(dir, 'disk'), dir];
    expect(JSON.parse(execFileSync('unshare', args, { encoding: 'utf8' }))).toEqual({
      sent: 'disk_low',
      left: ['mirror.git'],
      had: 'f\n',
      made: ['disk_low', 'disk_low'],
      worktrees: [],
      after: ['f\n', 'f\nlast\nwide\n'],
      diffs: ['disk_low', 'disk_low', 'new'],
    });
  });
});
