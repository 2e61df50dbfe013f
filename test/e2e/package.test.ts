import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'crp-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

test('packs to one tarball that installs alone into an empty prefix and runs the demo there', {
  timeout: 240_000,
}, async () => {
  const env = { ...process.env, npm_config_loglevel: 'error' };
  await run('npm', ['pack', '-w', 'codex-remote', '--pack-destination', dir, '--ignore-scripts'], {
    cwd: root,
    env,
  });
  const [tarball] = (await readdir(dir)).filter((name) => name.endsWith('.tgz'));
  if (!tarball) throw new Error('npm pack made no tarball');
  const prefix = join(dir, 'prefix');
  await run(
    'npm',
    ['install', '--global', '--prefix', prefix, '--no-audit', '--no-fund', join(dir, tarball)],
    { cwd: dir, env },
  );
  // Nothing of the workspace is in reach: only the system's programs and what was just installed.
  const path = `${join(prefix, 'bin')}:/usr/bin:/bin:/usr/sbin:/sbin`;
  const { stdout } = await run('sh', [join(root, 'scripts/demo.sh'), '--installed'], {
    cwd: dir,
    env: { PATH: path, HOME: dir, TMPDIR: dir },
  });
  expect(stdout).toContain('"status":"finished"');
  expect(stdout).toContain('step 5');
  // The demo leaves nothing behind but what npm installed.
  expect((await readdir(dir)).filter((name) => name.startsWith('tmp.'))).toEqual([]);
});
