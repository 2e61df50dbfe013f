import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { run, TwoTrees, treeOf } from './support.ts';

let trees: TwoTrees;
afterEach(() => trees.close());

/** One step or more of each kind, among them a folder that becomes a file and a file that becomes a folder. */
async function open(): Promise<TwoTrees> {
  const opened = await TwoTrees.open((root) => {
    mkdirSync(join(root, 'folder'));
    writeFileSync(join(root, 'folder/gone'), 'gone\n', { mode: 0o755 });
    writeFileSync(join(root, 'file'), 'file\n');
    writeFileSync(join(root, 'text'), 'old\n');
    symlinkSync('text', join(root, 'link'));
  });
  const { there } = opened;
  rmSync(join(there, 'folder'), { recursive: true });
  writeFileSync(join(there, 'folder'), 'a file now\n');
  rmSync(join(there, 'file'));
  mkdirSync(join(there, 'file'));
  writeFileSync(join(there, 'file/new'), 'new\n');
  writeFileSync(join(there, 'text'), 'new\n');
  rmSync(join(there, 'link'));
  symlinkSync('folder', join(there, 'link'));
  return opened;
}

const program = join(import.meta.dirname, 'apply-program.ts');

/** The file that tells it what to apply. */
function orderFile(): string {
  const { files, patch } = trees.result();
  const path = join(trees.dir, 'order.json');
  const commits = [run(trees.here, 'rev-parse', 'HEAD').trim()];
  const told = { execId: 'x1', dir: trees.here, commits, files, patch: patch.toString('base64') };
  writeFileSync(path, JSON.stringify({ ...told, allowAutorun: false, dryRun: false }));
  return path;
}

/** As a process of its own; `fp`: where it ends. */
function applyElsewhere(fp: string): number | null {
  const { status, signal, stderr } = spawnSync(process.execPath, [program, orderFile()], {
    env: { ...process.env, CR_FP: fp },
    encoding: 'utf8',
  });
  if (status !== 0 && signal !== 'SIGKILL') throw new Error(stderr);
  return status;
}

test('ended after any step it leaves what the next one takes back, and then all is applied', async () => {
  trees = await open();
  const before = treeOf(trees.here);
  let steps = 0;
  while (applyElsewhere(`client.apply.step:exit9:${steps + 1}`) === null) {
    steps++;
    expect(treeOf(trees.here)).not.toEqual(before);
    // What takes it back is ended too, now early and now late.
    const undone = { 4: 5, 8: 2 }[steps];
    if (undone) expect(applyElsewhere(`client.apply.undone:exit9:${undone}`)).toBe(null);
    expect(await trees.apply({ files: [] })).toMatchObject({ undone: { execId: 'x1', changedSince: [] } });
    expect(treeOf(trees.here)).toEqual(before);
  }
  expect(steps).toBe(8);
  expect(treeOf(trees.here)).toEqual(treeOf(trees.there));
  expect(readdirSync(join(trees.here, '.git/codex-remote'))).toEqual(['apply.lock']);
});

test('ended while what it replaces has two names, it was not replaced', async () => {
  trees = await open();
  const before = treeOf(trees.here);
  // A file, then a link: where hard links are not to be had it is a copy.
  for (const kept of [3, 4]) {
    expect(applyElsewhere(`client.apply.kept:exit9:${kept}`)).toBe(null);
    expect(await trees.apply({ files: [] })).toMatchObject({ undone: { changedSince: [] } });
    expect(treeOf(trees.here)).toEqual(before);
  }
});

test('ended before the first step or after the last it was nothing, or all', async () => {
  trees = await open();
  const before = treeOf(trees.here);
  expect(applyElsewhere('client.apply.before:exit9')).toBe(null);
  expect(treeOf(trees.here)).toEqual(before);
  expect(applyElsewhere('client.apply.after:exit9')).toBe(null);
  expect(treeOf(trees.here)).toEqual(treeOf(trees.there));
  expect(await trees.apply()).not.toHaveProperty('undone');
});

test('what somebody has changed since a cut is left, and what was there before is kept', async () => {
  trees = await open();
  expect(applyElsewhere('client.apply.step:exit9:8')).toBe(null);
  writeFileSync(join(trees.here, 'text'), 'mine\n');
  await expect(trees.apply({ dryRun: true })).rejects.toMatchObject({ code: 'tree_drifted' });
  const { undone } = await trees.apply({ files: [] });
  expect(undone?.changedSince).toEqual(['text']);
  expect(readFileSync(join(trees.here, 'text'), 'utf8')).toBe('mine\n');
  expect(treeOf(undone?.left ?? '')).toMatchObject({ 'old/7': '- old\n' });
});

test('a step that the system refuses takes back those before it', async () => {
  trees = await open();
  const before = treeOf(trees.here);
  for (const [errno, code] of [
    ['EACCES', 'usage'],
    ['ENOSPC', 'disk_low'],
  ])
    expect(() => applyElsewhere(`client.apply.step:throw=${errno}:6`)).toThrow(`code: '${code}'`);
  expect(treeOf(trees.here)).toEqual(before);
});

test('a signal that comes while it is at it leaves nothing half done', async () => {
  trees = await open();
  const child = spawn(process.execPath, [program, orderFile()], {
    env: { ...process.env, CR_FP: 'client.apply.step:sleep=500:2' },
    stdio: 'ignore',
  });
  const ended = once(child, 'exit');
  await vi.waitFor(() => expect(treeOf(trees.here)).not.toHaveProperty('folder/gone'), 10_000);
  child.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
  expect(treeOf(trees.here)).toEqual(treeOf(trees.there));
});

test('two at once do not meet', async () => {
  trees = await open();
  const both = await Promise.allSettled([trees.apply(), trees.apply()]);
  const failed = both.flatMap((one) => (one.status === 'rejected' ? [one.reason.code] : []));
  expect(failed).toEqual(['conflict']);
  expect(treeOf(trees.here)).toEqual(treeOf(trees.there));
});
