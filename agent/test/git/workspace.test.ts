import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ProjectLab } from '../support/project-lab.ts';
import { finished } from '../support/store-lab.ts';
import { waitFor } from '../support/wait-for.ts';

let lab: ProjectLab;
beforeEach(() => {
  lab = new ProjectLab();
});
afterEach(() => lab.close());

const workspace = 'build';
const here = (...names: readonly string[]) => lab.at('workspaces/site', workspace, ...names);
const files = () =>
  readdirSync(here())
    .filter((name) => name !== '.git')
    .sort();

describe('a workspace', () => {
  test('has the files of the commit each time, and what earlier execs left beside them', async () => {
    const one = await lab.commit({ f: '1', gone: 'x', '.gitignore': 'cache\n' });
    lab.repository.git('rm', '-q', 'gone');
    const two = await lab.commit({ f: '2', come: 'y' });
    const script =
      'cat f; echo changed > f; rm -f .gitignore; echo c > cache; echo u > "un known"; git add .';
    const first = await lab.runAt(one, script, { workspace });
    expect(first).toMatchObject({ out: '1', worktree: { workspace, path: here(), commit: one } });
    const next = await lab.runAt(two, 'cat f; git status --porcelain; git rev-parse HEAD; ls', { workspace });
    expect(next.out).toBe(`2?? "un known"\n${two}\ncache\ncome\nf\nun known\n`);
    expect((await lab.runAt(one, 'git status --short', { workspace, clean: true })).out).toBe('');
    expect(files()).toEqual(['.gitignore', 'f', 'gone']);
  });

  test('writes only what has changed', async () => {
    const one = await lab.commit({ same: 's', f: '1' });
    const stat = 'stat -c %n:%i:%Z same';
    const before = await lab.runAt(one, stat, { workspace });
    const two = await lab.commit({ f: '2' });
    expect((await lab.runAt(two, stat, { workspace })).out).toBe(before.out);
    const touched = await lab.runAt(two, 'printf t > same; sync same', { workspace });
    expect(touched.exit_code).toBe(0);
    expect((await lab.runAt(two, 'cat same', { workspace })).out).toBe('s');
  });

  test('is of one exec at a time; another that wants it is told who has it, or waits in a queue', async () => {
    const commit = await lab.commit({ f: '1' });
    const worktree = lab.repository.spec(commit, { workspace });
    const { state } = await lab.start(`while [ ! -e ${lab.at('go')} ]; do sleep 0.02; done`, { worktree });
    await expect(lab.start('true', { worktree, exec_id: 'second' })).rejects.toMatchObject({
      code: 'workspace_busy',
      details: { facts: { held_by: state.exec_id } },
    });
    expect((await lab.runAt(commit, 'cat f', { workspace: 'other' })).out).toBe('1');
    // The next agent knows it too.
    lab.reopen();
    await expect(lab.start('true', { worktree, exec_id: 'second' })).rejects.toMatchObject({
      code: 'workspace_busy',
    });
    const queued = await lab.start('pwd', { worktree, after: [state.exec_id] });
    expect(queued.state).toMatchObject({ status: 'queued', worktree: { path: here() }, cwd: here() });
    writeFileSync(lab.at('go'), '');
    const ended = finished(await lab.store.ended(queued.state.exec_id));
    expect(lab.read(ended.exec_id)).toBe(`${here()}\n`);
    expect(await lab.runAt(commit, 'true', { workspace }, { exec_id: 'second' })).toMatchObject({
      exit_code: 0,
    });
  });

  test('is waited for by those that wait in a queue, one after the other', async () => {
    const commit = await lab.commit({ f: '1' });
    const worktree = lab.repository.spec(commit, { workspace });
    lab.store.setQueues({ wide: 5 });
    const until = (name: string) => `while [ ! -e ${lab.at(name)} ]; do sleep 0.02; done`;
    const { state: holder } = await lab.start(until('go'), { worktree });
    const work = 'mkdir taken && sleep 0.1 && rmdir taken';
    const queued = [];
    for (const exec_id of ['one', 'two', 'three'])
      queued.push((await lab.start(work, { worktree, exec_id, queue: 'wide' })).state);
    expect(queued).toMatchObject([
      { status: 'queued', reason: 'dependency', waiting_for: [holder.exec_id] },
      { status: 'queued', reason: 'dependency' },
      { status: 'queued', reason: 'dependency' },
    ]);
    // The next agent has them wait for the same.
    lab.reopen();
    writeFileSync(lab.at('go'), '');
    for (const { exec_id } of queued)
      expect(finished(await lab.store.ended(exec_id))).toMatchObject({ reason: 'exited', exit_code: 0 });
  });

  test('is free again where a start in it fails', async () => {
    const commit = await lab.commit({ f: '1' });
    const nothing = await lab.runAt(
      commit,
      'true',
      { workspace },
      { command: { kind: 'argv', argv: ['./no'] } },
    );
    expect(nothing).toMatchObject({ reason: 'failed_to_start', exit_code: 127 });
    const two = lab.repository.commit({ f: '2' });
    await expect(lab.runAt(two, 'true', { workspace })).rejects.toMatchObject({ code: 'commit_missing' });
    expect(await lab.runAt(commit, 'cat f', { workspace })).toMatchObject({ out: '1' });
  });

  test.each<[string, string]>([
    [
      'a repository of its own in its place',
      'rm .git; git init -q; git add .; git -c user.name=a -c user.email=b commit -qm x',
    ],
    [
      'half a merge, a lock and a branch',
      'd=$(git rev-parse --git-dir); : > $d/index.lock; : > $d/MERGE_HEAD; git checkout -q -b x',
    ],
    [
      'files that git was told to pass over',
      'git update-index --assume-unchanged f; git update-index --skip-worktree d/g; echo x > f; echo x > d/g',
    ],
    [
      'a directory where a file is to be, and a link where a directory is',
      'rm -r f d; mkdir f; : > f/x; ln -s / d',
    ],
    ['a link in place of itself', 'cd ..; rm -r build; ln -s / build'],
    ['nothing', 'cd ..; rm -r build'],
    ['an index that is none', `echo x > ../.build.sha1.index`],
  ])('is as it has to be after a job that left %s', async (_what, script) => {
    const commit = await lab.commit({ f: '1', 'd/g': '2' });
    await lab.runAt(commit, script, { workspace });
    const next = await lab.runAt(
      commit,
      'cat f d/g; git status --porcelain -uno; git rev-parse --abbrev-ref HEAD',
      {
        workspace,
      },
    );
    expect(next).toMatchObject({ out: '12HEAD\n' });
    expect(existsSync('/g')).toBe(false);
  });

  test('whose checkout was ended in the middle keeps nothing of that commit', async () => {
    const one = await lab.commit({ f: '1' });
    const two = await lab.commit({ f: '2', more: 'm' });
    await lab.runAt(one, 'echo c > cache', { workspace });
    // As far as it came: a file of the commit, and a note of which.
    writeFileSync(here('more'), 'm');
    writeFileSync(lab.at('workspaces/site/.build.sha1.making'), `${two}\n`);
    writeFileSync(lab.at('workspaces/site/.build.sha1.index.lock'), 'half');
    expect((await lab.runAt(one, 'git status --short', { workspace })).out).toBe('?? cache\n');
    expect(files()).toEqual(['cache', 'f']);
  });
});

describe('a queued exec of a project', () => {
  const queue = 'one';

  test('gets its worktree when it is its turn, at the commit that it was accepted with', async () => {
    const commit = await lab.commit({ f: '1', 'run.sh': '#!/bin/sh\ncat f\n' });
    lab.repository.git('update-index', '--chmod=+x', 'run.sh');
    const executable = lab.repository.git('write-tree');
    const next = lab.repository.git('commit-tree', '-m', 'x', executable);
    await lab.send(next);
    const first = await lab.start('sleep 60', { queue });
    const worktree = lab.repository.spec(next);
    const command = { kind: 'argv' as const, argv: ['./run.sh'] };
    const { state } = await lab.start('', { queue, worktree, command });
    expect(state).toMatchObject({ status: 'queued' });
    expect(readdirSync(lab.at('worktrees'))).toEqual([]);
    await expect(lab.store.git.worktrees.removeProject('site')).rejects.toMatchObject({
      code: 'workspace_busy',
    });
    await lab.store.cancel(first.state.exec_id, 'KILL', 0);
    finished(await lab.store.ended(state.exec_id));
    expect(lab.read(state.exec_id)).toBe('1');
    expect(commit).not.toBe(next);
  });

  test('is lost, and safe to repeat, where its worktree cannot be made', async () => {
    const commit = await lab.commit({ f: '1' });
    const first = await lab.start('sleep 60', { queue });
    const { state } = await lab.start('true', { queue, worktree: lab.repository.spec(commit) });
    rmSync(lab.at('git/site/mirror.git/objects'), { recursive: true });
    mkdirSync(lab.at('git/site/mirror.git/objects'));
    await lab.store.cancel(first.state.exec_id, 'KILL', 0);
    await waitFor('its end', () => lab.store.get(state.exec_id).status === 'lost');
    expect(lab.store.get(state.exec_id)).toMatchObject({
      ...{ status: 'lost', reason: 'not_started', safe_to_retry: true, why: 'git_failed' },
      worktree: { commit, removed: true },
    });
  });
});
