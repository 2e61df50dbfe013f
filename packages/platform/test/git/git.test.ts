import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Git } from '../../src/git/index.ts';

let dir = '';
const git = new Git();

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'cr-git-'));
  await git.run({ args: ['init', '-q', dir] });
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A program that leaves a file when it runs, whatever it is called with. */
function trap(): { program: string; sprung: () => boolean } {
  const program = join(dir, 'trap.sh');
  const mark = join(dir, 'sprung');
  writeFileSync(program, `#!/bin/sh\n: > '${mark}'\n`);
  chmodSync(program, 0o755);
  return { program, sprung: () => existsSync(mark) };
}

test('neither hooks nor fsmonitor nor pager of a repository run', async () => {
  const { program, sprung } = trap();
  const hooks = join(dir, '.git/hooks');
  mkdirSync(hooks, { recursive: true });
  for (const name of ['post-checkout', 'post-index-change', 'reference-transaction']) {
    writeFileSync(join(hooks, name), `#!/bin/sh\n${program}\n`);
    chmodSync(join(hooks, name), 0o755);
  }
  for (const name of ['core.fsmonitor', 'core.pager', 'core.askPass', 'core.editor'])
    await git.run({ cwd: dir, args: ['config', name, program] });
  await git.run({ cwd: dir, args: ['add', '--all'] });
  await git.run({ cwd: dir, args: ['status', '--porcelain'] });
  await git.run({ cwd: dir, args: ['read-tree', '--reset', '-u', '--empty'] }).catch(() => undefined);
  await git.run({ cwd: dir, args: ['update-ref', 'refs/heads/x', await commit()] });
  expect(sprung()).toBe(false);
});

test('[row 89] no URL makes git run a program, or read what its call does not allow', async () => {
  const { program, sprung } = trap();
  const call = (url: string) =>
    git.ask({ cwd: dir, args: ['fetch', '--end-of-options', url], transports: ['https', 'ssh'] });
  for (const url of [
    `ext::${program}`,
    `ext::sh -c ${program}`,
    'fd::7',
    `file://${dir}`,
    dir,
    `ssh://-oProxyCommand=${program}/x`,
    `--upload-pack=${program}`,
  ])
    expect((await call(url)).code, url).not.toBe(0);
  expect(sprung()).toBe(false);
});

test('[row 88] a ref that looks like an option is one that does not exist', async () => {
  const { program, sprung } = trap();
  for (const ref of [`--upload-pack=${program}`, '--help', '-oProxyCommand=x', '--output=sprung'])
    expect(
      (await git.ask({ cwd: dir, args: ['rev-parse', '--verify', '--quiet', '--end-of-options', ref] })).code,
    ).not.toBe(0);
  expect(sprung()).toBe(false);
});

test('nothing of our own environment reaches git', async () => {
  const before = { ...process.env };
  Object.assign(process.env, {
    GIT_DIR: '/nowhere',
    GIT_INDEX_FILE: '/nowhere',
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: 'user.name',
    GIT_CONFIG_VALUE_0: 'someone',
  });
  try {
    expect(await git.line({ cwd: dir, args: ['rev-parse', '--absolute-git-dir'] })).toBe(join(dir, '.git'));
    expect((await git.ask({ cwd: dir, args: ['config', 'user.name'] })).code).toBe(1);
  } finally {
    process.env = before;
  }
});

test('input goes in at its pace, and its error is the one that is told', async () => {
  const pieces = (async function* () {
    for (let at = 0; at < 200; at += 1) yield Buffer.alloc(64 * 1024, at);
  })();
  const id = await git.line({ cwd: dir, args: ['hash-object', '-w', '--stdin'] }, { input: pieces });
  const size = await git.line({ cwd: dir, args: ['cat-file', '-s', id] });
  expect(Number(size)).toBe(200 * 64 * 1024);
  const broken = (async function* () {
    yield Buffer.from('x');
    throw new Error('the connection broke');
  })();
  await expect(git.run({ cwd: dir, args: ['hash-object', '--stdin'] }, { input: broken })).rejects.toThrow(
    'the connection broke',
  );
});

test('input that has gone in is not kept: memory stays the same however much it is', async () => {
  const pieces = (async function* () {
    for (let at = 0; at < 4_000; at += 1) yield Buffer.allocUnsafeSlow(64 * 1024).fill(at);
  })();
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  const look = setInterval(() => {
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }, 5);
  await git.run({ cwd: dir, args: ['hash-object', '--stdin'] }, { input: pieces });
  clearInterval(look);
  expect(most).toBeLessThan(128 * 1024 * 1024);
});

test('git that does not read its input to the end says why by its exit', async () => {
  const endless = (async function* () {
    for (;;) yield Buffer.alloc(64 * 1024);
  })();
  await expect(
    git.run({ cwd: dir, args: ['index-pack', '--stdin'] }, { input: endless }),
  ).rejects.toMatchObject({
    code: 'git_failed',
  });
});

test('too much output, an abort and a missing git are errors of their own', async () => {
  const endless = (async function* () {
    for (;;) yield Buffer.from('x'.repeat(1000));
  })();
  const abort = new AbortController();
  const waiting = git.run(
    { cwd: dir, args: ['hash-object', '--stdin'] },
    { input: endless, signal: abort.signal },
  );
  abort.abort();
  await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
  await expect(git.run({ args: ['help', '-a'] }, { maxOutputBytes: 100 })).rejects.toMatchObject({
    code: 'too_large',
  });
  await expect(new Git('/nowhere/git').run({ args: ['version'] })).rejects.toMatchObject({
    code: 'git_missing',
  });
});

async function commit(): Promise<string> {
  const tree = await git.line({ cwd: dir, args: ['write-tree'] });
  const who = {
    GIT_AUTHOR_NAME: 'a',
    GIT_AUTHOR_EMAIL: 'a@b',
    GIT_COMMITTER_NAME: 'a',
    GIT_COMMITTER_EMAIL: 'a@b',
  };
  return git.line({ cwd: dir, args: ['commit-tree', '-m', 'x', tree], env: who });
}

test('what it has written is there for a reader who comes after its end', async () => {
  const process = git.start({ args: ['version'] });
  await process.done();
  await new Promise((resolve) => setImmediate(resolve));
  expect(Buffer.concat(await process.stdout.toArray()).toString()).toMatch(/^git version/);
});
