import { createHmac } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ProjectLab } from '../support/project-lab.ts';
import { Repository } from '../support/repository.ts';
import { waitFor } from '../support/wait-for.ts';

let lab: ProjectLab;
beforeEach(() => {
  lab = new ProjectLab();
});
afterEach(() => lab.close());

const refs = (): string =>
  lab.repository.git('--git-dir', lab.at('git/site/mirror.git'), 'for-each-ref', '--format=%(refname)');

describe('an exec of a project', () => {
  test('runs in a worktree of its own at its commit, where git works, and says which', async () => {
    const commit = await lab.commit({ 'a file': 'one\n', 'dir/x': 'x', '-dash': '', 'new\nline': 'n' });
    const script =
      'pwd; git status --porcelain; git log --format=%H; git rev-parse HEAD^{tree}; cat "a file"';
    const ended = await lab.runAt(commit, script, { base: commit, dirty: true, ref: 'WORKTREE' });
    const path = lab.at('worktrees', ended.exec_id, 'site');
    const tree = lab.repository.tree(commit);
    expect(ended.out.split('\n')).toEqual([path, commit, tree, 'one', '']);
    expect(ended).toMatchObject({ reason: 'exited', exit_code: 0, cwd: path });
    expect(ended.worktree).toEqual({
      ...{ project: 'site', ref: 'WORKTREE', commit, tree, dirty: true, base: commit, path },
    });
    expect(readdirSync(path).sort()).toEqual(['-dash', '.git', 'a file', 'dir', 'new\nline'].sort());
  });

  test('runs in a directory of it, in one of the machine, and never in one that leads out of it', async () => {
    const commit = await lab.commit({ 'dir/x': 'x' });
    const path = (id: string) => lab.at('worktrees', id, 'site');
    const inside = await lab.runAt(commit, 'pwd', {}, { cwd: 'dir' });
    expect(inside.out).toBe(`${path(inside.exec_id)}/dir\n`);
    expect((await lab.runAt(commit, 'pwd', {}, { cwd: '/' })).out).toBe('/\n');
    expect((await lab.runAt(commit, 'pwd', {}, { cwd: '~' })).out).toBe(`${lab.home}\n`);
    expect(await lab.runAt(commit, 'pwd', {}, { cwd: 'nowhere' })).toMatchObject({
      reason: 'failed_to_start',
    });
    for (const cwd of ['..', '../x', 'dir/../../x'])
      await expect(lab.runAt(commit, 'pwd', {}, { cwd }), cwd).rejects.toMatchObject({ code: 'usage' });
  });

  test('is found again by its id, and is another at another commit', async () => {
    const [one, two] = [await lab.commit({ f: '1' }), await lab.commit({ f: '2' })];
    const spec = lab.spec({ worktree: lab.repository.spec(one) });
    await lab.store.start({ spec });
    const again = { ...spec, worktree: lab.repository.spec(one, { ref: 'another name', keep: true }) };
    expect(await lab.store.start({ spec: again })).toMatchObject({ attached: true });
    const other = { ...spec, worktree: lab.repository.spec(two) };
    await expect(lab.store.start({ spec: other })).rejects.toMatchObject({ code: 'conflict' });
    await lab.store.ended(spec.exec_id);
  });

  test('is not accepted where the commit is not there, or its tree is another; nothing of it stays', async () => {
    const here = await lab.commit({ f: '1' });
    const elsewhere = lab.repository.commit({ f: '2' });
    const specs = {
      commit_missing: lab.repository.spec(elsewhere),
      usage: { ...lab.repository.spec(here), tree: lab.repository.tree(elsewhere) },
    };
    for (const [code, worktree] of Object.entries(specs))
      await expect(lab.start('true', { exec_id: 'it', worktree })).rejects.toMatchObject({ code });
    const missing = { ...lab.repository.spec(here), project: 'other' };
    await expect(lab.start('true', { worktree: missing })).rejects.toMatchObject({ code: 'commit_missing' });
    expect(() => lab.store.get('it')).toThrow('exec_id not found');
    expect(readdirSync(lab.at('worktrees'))).toEqual([]);
    expect(refs()).not.toContain('/execs/');
    await lab.send(elsewhere);
    expect(await lab.start('true', { exec_id: 'it', worktree: specs.commit_missing })).toMatchObject({
      attached: false,
    });
    await lab.store.ended('it');
  });

  test('of a sha256 repository, with attributes, links, modes and names that differ in their case', async () => {
    const other = new Repository(lab.at('user/sha256'), 'sha256');
    other.write({
      '.gitattributes': '*.bat eol=crlf\n',
      'x.bat': 'a\nb\n',
      Readme: '1',
      README: '2',
      run: '#!/bin/sh',
    });
    other.git('add', '--all');
    other.git('update-index', '--chmod=+x', 'run');
    other.git('symbolic-ref', 'refs/x', 'refs/heads/main');
    other.git('commit', '-q', '-m', 'x');
    const commit = other.git('rev-parse', 'HEAD');
    await lab.send(commit, other);
    const script =
      'umask 022; od -c x.bat | head -1; cat Readme README; stat -c %a run Readme .; git status --porcelain';
    const ended = await lab.run(script, { worktree: other.spec(commit) });
    expect(lab.read(ended.exec_id).split('\n')).toEqual([
      '0000000   a  \\r  \\n   b  \\r  \\n',
      ...['12755', '644', '755', ''],
    ]);
  });

  test('shares its project with another at once, and neither sees the other', async () => {
    const [one, two] = [await lab.commit({ f: '1' }), await lab.commit({ f: '2' })];
    const script =
      'echo more >> f; git add f; git -c user.name=a -c user.email=b commit -qm x; git status -s; cat f';
    const outs = await Promise.all([one, two, one].map((commit) => lab.runAt(commit, script)));
    expect(outs.map(({ out }) => out)).toEqual(['1more\n', '2more\n', '1more\n']);
  });

  test('meets nothing that an earlier job has set for itself: no hook, no filter, no monitor runs for us', async () => {
    lab.repository.write({ '.gitattributes': '* filter=trap\n' });
    const commit = await lab.commit({ f: '1' });
    const trap = lab.at('trap');
    writeFileSync(trap, `#!/bin/sh\n: > '${lab.at('sprung')}'\ncat\n`, { mode: 0o755 });
    const set = ['filter.trap.smudge', 'filter.trap.clean', 'core.fsmonitor', 'filter.a.b.process'].map(
      (name) => `git config ${name} ${trap}`,
    );
    const hook = 'd=$(git rev-parse --git-common-dir)/hooks; mkdir -p $d; cp "$OLDPWD/trap" $d/post-checkout';
    await lab.runAt(commit, `cd ${lab.home}; cd -; ${hook}; ${set.join('; ')}; rm -f ${lab.at('sprung')}`);
    const next = await lab.runAt(commit, `ls ${lab.at('sprung')} 2>&1; cat f`);
    expect(next.out).toContain('No such file');
    expect(existsSync(lab.at('sprung'))).toBe(false);
  });
});

describe('a worktree', () => {
  test('goes with its exec, and the commit is named for as long', async () => {
    lab.close();
    lab = new ProjectLab({ retention: { maxCount: 1, maxAgeMs: 1e12, maxTotalBytes: 1e12 } });
    const commit = await lab.commit({ f: '1' });
    const [old, kept] = [
      await lab.runAt(commit, 'mkdir -p d/e; : > d/e/f; chmod a-w d/e d', {}, { exec_id: 'a..b.lock' }),
      await lab.runAt(commit, 'true'),
    ];
    expect(refs()).toContain('refs/codex-remote/execs/a++b+lock');
    lab.store.acknowledge([old.exec_id, kept.exec_id]);
    await waitFor('retention', () => readdirSync(lab.at('worktrees')).join() === kept.exec_id);
    await waitFor('the ref', () => !refs().includes('a++b+lock'));
    expect(readdirSync(lab.at('git/site/mirror.git/worktrees'))).toEqual([kept.exec_id]);
    expect(lab.store.get(kept.exec_id).worktree).not.toHaveProperty('removed');
  });

  test('goes before its exec where there are too many, the oldest first; one that is to be kept does not', async () => {
    lab.close();
    lab = new ProjectLab({ worktrees: { maxCount: 1, maxTotalBytes: 1e12 } });
    const commit = await lab.commit({ f: '1' });
    const running = await lab.start('sleep 60', { worktree: lab.repository.spec(commit) });
    const ended = [];
    for (const keep of [true, false, false]) ended.push((await lab.runAt(commit, 'true', { keep })).exec_id);
    const [kept = '', old = '', last = ''] = ended;
    await waitFor('the limit', () => !existsSync(lab.at('worktrees', old)));
    const left = [kept, last, running.state.exec_id].sort();
    expect(
      readdirSync(lab.at('worktrees'))
        .filter((name) => !name.startsWith('.'))
        .sort(),
    ).toEqual(left);
    expect(lab.store.get(old).worktree).toMatchObject({ removed: true, commit });
    expect(lab.store.get(kept).worktree).toMatchObject({ kept: true });
    expect(refs()).toContain(old);
  });

  test('of a start that fails is not left behind', async () => {
    const commit = await lab.commit({ f: '1' });
    const env = { BIG: 'x'.repeat(200_000) };
    await expect(lab.runAt(commit, 'true', {}, { env })).rejects.toMatchObject({ code: 'args_too_long' });
    mkdirSync(lab.at('worktrees/it/site'), { recursive: true });
    writeFileSync(lab.at('worktrees/it/site/old'), '');
    const full = { ...lab.repository.spec(commit) };
    expect(await lab.start('ls', { exec_id: 'it', worktree: full })).toMatchObject({ attached: false });
    await lab.store.ended('it');
    expect(lab.read('it')).toBe('f\n');
    expect(readdirSync(lab.at('worktrees'))).toEqual(['it']);
  });

  test('and all else of a project is removed at once, but not while an exec runs in one', async () => {
    const commit = await lab.commit({ f: '1' });
    const { state } = await lab.start('sleep 60', {
      worktree: lab.repository.spec(commit, { workspace: 'w' }),
    });
    await lab.runAt(commit, 'true');
    const { worktrees } = lab.store.git;
    await expect(worktrees.removeProject('site')).rejects.toMatchObject({
      code: 'workspace_busy',
      details: { facts: { held_by: state.exec_id } },
    });
    await lab.store.cancel(state.exec_id, 'KILL', 0);
    expect(await worktrees.removeProject('site')).toBe(true);
    expect(await worktrees.removeProject('site')).toBe(false);
    for (const folder of ['git', 'worktrees', 'workspaces'])
      expect(readdirSync(lab.at(folder)), folder).toEqual([]);
    await lab.send(commit);
    expect((await lab.runAt(commit, 'cat f')).out).toBe('1');
  });
});

test('an exec without a worktree has the digest that it had before there were any', async () => {
  const key = Buffer.alloc(32, 1);
  writeFileSync(lab.at('digest.key'), key);
  const spec = lab.spec({ command: { kind: 'argv', argv: ['true'] }, env: { A: '1' } });
  const { state } = await lab.reopen().start({ spec });
  const request = JSON.stringify([['argv', ['true']], null, [['A', '1']], null]);
  expect(state.digest).toBe(createHmac('sha256', key).update(request).digest('hex'));
  await lab.store.ended(spec.exec_id);
});
