import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Repository } from '../support/repository.ts';
import { StoreLab } from '../support/store-lab.ts';

let lab: StoreLab;
let repository: Repository;
beforeEach(() => {
  lab = new StoreLab({ spares: 0 });
  repository = new Repository(join(lab.home, 'there'));
});
afterEach(() => lab.close());

const fetch = (ref: string, url = `file://${repository.path}`) =>
  lab.store.git.projects.fetch({ project: 'site', url, ref }, AbortSignal.timeout(20_000));
const found = (commit: string, of = repository) => ({ commit, tree: of.tree(commit) });

describe('a repository that the machine fetches by itself', () => {
  test('gives branches as they are now, tags, full names and commits', async () => {
    const first = repository.commit({ f: '1' });
    repository.git('tag', '-a', '-m', 'x', 'v1');
    expect(await fetch('main')).toEqual(found(first));
    const second = repository.commit({ f: '2' });
    expect(await fetch('main')).toEqual(found(second));
    expect(await fetch('HEAD')).toEqual(found(second));
    for (const ref of ['v1', 'refs/tags/v1', first]) expect(await fetch(ref), ref).toEqual(found(first));
    repository.git('commit', '-q', '--amend', '-m', 'another');
    expect(await fetch('refs/heads/main')).toEqual(found(repository.git('rev-parse', 'HEAD')));
    expect(await fetch(first.slice(0, 10))).toEqual(found(first));
  });

  test('may have objects of either format', async () => {
    const other = new Repository(join(lab.home, 'sha256'), 'sha256');
    const commit = other.commit({ f: '1' });
    for (let times = 0; times < 2; times++)
      expect(await fetch('main', `file://${other.path}`)).toEqual(found(commit, other));
  });

  test.each([
    'nowhere',
    '0123456789',
    '0'.repeat(40),
    '-x',
    '--upload-pack=x',
    'a:b',
    'a..b',
    '^main',
    '*',
    'main~1',
  ])('has no %s: unknown_ref [row 88]', async (ref) => {
    repository.commit({ f: '1' });
    await expect(fetch(ref)).rejects.toMatchObject({ code: 'unknown_ref' });
  });

  test('that is none, or cannot be reached, says what git said', async () => {
    await expect(fetch('main', `file://${lab.home}`)).rejects.toMatchObject({ code: 'fetch_failed' });
    const nobody = fetch('main', 'git://127.0.0.1:1/x');
    await expect(nobody).rejects.toMatchObject({
      code: 'fetch_failed',
      details: { facts: { git_stderr: expect.stringContaining('127.0.0.1') } },
    });
  });

  test('makes nothing run: not a program that its URL names, not one that a job has configured [row 89]', async () => {
    const trap = join(lab.home, 'trap');
    writeFileSync(trap, `#!/bin/sh\n: > '${lab.home}/sprung'\n`, { mode: 0o755 });
    repository.commit({ f: '1' });
    await fetch('main');
    for (const name of ['core.fsmonitor', 'core.hooksPath', 'core.askPass', 'core.editor'])
      repository.git('config', '--file', join(lab.home, 'git/site/mirror.git/config'), name, trap);
    repository.git(
      'config',
      '--file',
      join(lab.home, 'git/site/mirror.git/config'),
      'url.ext::.insteadOf',
      'file://',
    );
    await expect(fetch('main')).rejects.toMatchObject({ code: 'fetch_failed' });
    for (const url of [`ext::${trap}`, `ssh://-oProxyCommand=${trap}/x`, `--upload-pack=${trap}`, `fd::3`])
      await expect(fetch('main', url), url).rejects.toMatchObject({ code: 'usage' });
    expect(existsSync(join(lab.home, 'sprung'))).toBe(false);
  });
});
