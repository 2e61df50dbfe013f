import { randomBytes } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { bring, type GitClient } from '@codex-remote/client/git';
import { RemoteError } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { GitLab } from './support/lab.ts';

let lab: GitLab;
beforeEach(() => {
  lab = new GitLab();
});
afterEach(() => lab.close());

const address = { machine: 'box', project: 'app', connectWaitMs: 0 };
async function brought(folder: string, ref: string, includeLarge = false) {
  const repository = await lab.find(folder);
  const git = lab.machine as unknown as GitClient;
  return bring({ repository, store: lab.store(repository), git, address, ref, includeLarge });
}

describe('commits', () => {
  test('all of them are sent the first time, then what is new, then nothing', async () => {
    lab.repository('app');
    lab.write('app', 'blob', randomBytes(300_000));
    const second = lab.commit('app');
    expect(await brought('app', 'main')).toMatchObject({ commit: second, dirty: false, leftOut: [] });
    lab.write('app', 'a', 'third\n');
    const third = lab.commit('app');
    const more = await brought('app', 'HEAD');
    expect(more).toMatchObject({ commit: third, tree: lab.git('app', 'rev-parse', 'HEAD^{tree}') });
    expect(await brought('app', third.slice(0, 10))).toMatchObject({ commit: third, sentBytes: 0 });
    expect(await brought('app', 'HEAD~1')).toMatchObject({ commit: second, sentBytes: 0 });
    const [first = 0, next = 0] = lab.machine.packs;
    expect([first > 300_000, next < 1000, lab.machine.packs.length]).toEqual([true, true, 2]);
    expect(lab.machine.content(third, 'a')).toBe('third\n');
  });

  test('a tag, and a branch whose name looks like something else', async () => {
    lab.repository('app');
    lab.git('app', 'tag', '-a', '-m', 'x', 'v1');
    lab.git('app', 'branch', 'feature/grüße@x');
    const head = lab.git('app', 'rev-parse', 'HEAD');
    for (const ref of ['v1', 'feature/grüße@x', 'refs/tags/v1'])
      expect((await brought('app', ref)).commit).toBe(head);
  });

  test.each([
    ...[
      'nothing',
      'main..main',
      '--upload-pack=touch x',
      '-h',
      ':a',
      'main:a',
      '',
      'a\nmain',
      '^main',
      'HEAD^{tree}',
    ],
    'x'.repeat(255),
  ])('%j names no commit: unknown_ref, and nothing is asked of the machine [row 88]', async (ref) => {
    lab.repository('app');
    await expect(brought('app', ref)).rejects.toMatchObject({ code: 'unknown_ref', details: { sent: 'no' } });
    expect(lab.machine.packs).toEqual([]);
  });

  test.each(['sha1', 'sha256'])('of a repository with %s, from a working tree of its own', async (format) => {
    lab.repository('app', `--object-format=${format}`);
    lab.git('app', 'worktree', 'add', '-q', '../other', '-b', 'other');
    lab.write('other', 'b', 'b\n');
    expect((await lab.find('app')).key).toBe((await lab.find('other')).key);
    const { commit } = await brought('other', 'WORKTREE');
    expect([commit.length, lab.machine.paths(commit)]).toEqual([format === 'sha1' ? 40 : 64, ['a', 'b']]);
  });

  test('of a shallow clone, and what was committed on it since', async () => {
    lab.repository('app');
    for (const text of ['2', '3']) {
      lab.write('app', 'a', text);
      lab.commit('app');
    }
    lab.git('.', 'clone', '-q', '--depth', '1', `file://${lab.at('app')}`, 'clone');
    const head = lab.git('clone', 'rev-parse', 'HEAD');
    expect((await brought('clone', 'HEAD')).commit).toBe(head);
    expect(lab.machine.shallow).toEqual([head]);
    lab.write('clone', 'a', '4');
    const next = lab.commit('clone');
    await brought('clone', 'HEAD');
    expect([lab.machine.content(next, 'a'), lab.machine.packs.length]).toEqual(['4', 2]);
  });

  test('what the machine says that it has and has not is sent after all', async () => {
    lab.repository('app');
    await brought('app', 'HEAD');
    lab.write('app', 'a', 'second\n');
    const second = lab.commit('app');
    lab.machine.failures.push(new RemoteError('git_failed', 'index-pack failed'));
    await brought('app', 'HEAD');
    expect(lab.machine.content(second, 'a')).toBe('second\n');
    lab.machine.failures.push(new RemoteError('disk_low', 'no room'));
    lab.write('app', 'a', 'third\n');
    lab.commit('app');
    await expect(brought('app', 'HEAD')).rejects.toMatchObject({ code: 'disk_low' });
  });

  test('of a bare repository, and from a folder in a repository of a name with spaces and a newline', async () => {
    const name = 'a "b"\n c';
    lab.repository(name);
    mkdirSync(lab.at(name, 'sub'));
    const head = lab.git(name, 'rev-parse', 'HEAD');
    expect((await brought(`${name}/sub`, 'HEAD')).commit).toBe(head);
    expect((await lab.find(name)).key).toMatch(/^a-b-c-[0-9a-f]{12}$/);
    lab.write(name, '-n', 'new\n');
    const { commit } = await brought(name, 'WORKTREE');
    expect(lab.machine.paths(commit)).toEqual(['-n', 'a']);
    lab.git('.', 'clone', '-q', '--bare', lab.at(name), 'bare.git');
    expect((await brought('bare.git', 'main')).commit).toBe(head);
    await expect(brought('bare.git', 'WORKTREE')).rejects.toMatchObject({ code: 'not_repository' });
  });

  test('a folder in no repository, and one that is not there, are told so', async () => {
    mkdirSync(lab.at('plain'));
    for (const folder of ['plain', 'nowhere'])
      await expect(lab.find(folder)).rejects.toMatchObject({
        code: 'not_repository',
        message: expect.stringContaining(lab.at(folder)),
      });
  });
});

describe('WORKTREE', () => {
  test('has what is staged, changed, new, gone and of another type; index, branches, stash and files stay', async () => {
    lab.repository('app');
    for (const name of ['staged', 'changed', 'gone', 'link', 'folder', 'both'])
      lab.write('app', name, `${name}\n`);
    lab.write('app', '.gitignore', 'ignored\n');
    const base = lab.commit('app');
    lab.write('app', 'stashed', 'x');
    lab.git('app', 'stash', '-u', '-q');
    lab.write('app', 'staged', 'staged anew\n');
    lab.git('app', 'add', 'staged');
    lab.write('app', 'both', 'index\n');
    lab.git('app', 'add', 'both');
    lab.write('app', 'both', 'file\n');
    lab.write('app', 'changed', 'changed anew\n');
    rmSync(lab.at('app', 'gone'));
    rmSync(lab.at('app', 'link'));
    symlinkSync('a', lab.at('app', 'link'));
    rmSync(lab.at('app', 'folder'));
    mkdirSync(lab.at('app', 'folder'));
    const odd = ['folder/in it', 'new\nline', '-dash', ' space ', 'quo"te', 'grüße', '--', 'a:b', '*'];
    for (const name of odd) lab.write('app', name, 'odd\n');
    lab.write('app', 'ignored', 'x');
    const before = lab.picture('app');
    const { commit, ...rest } = await brought('app', 'WORKTREE');
    expect(lab.picture('app')).toEqual(before);
    expect(rest).toMatchObject({ dirty: true, base, leftOut: [] });
    expect(lab.machine.paths(commit)).toEqual(
      ['.gitignore', 'a', 'both', 'changed', 'link', 'staged', ...odd].toSorted(),
    );
    const text = (path: string): string => lab.machine.content(commit, path);
    expect(['staged', 'both', 'changed', 'link', 'new\nline'].map(text)).toEqual([
      ...['staged anew\n', 'file\n', 'changed anew\n', 'a', 'odd\n'],
    ]);
    // The same files are the same commit, which the machine has.
    expect(await brought('app', 'WORKTREE')).toMatchObject({ commit, sentBytes: 0 });
  });

  test('is HEAD where nothing differs, whatever times the files have', async () => {
    lab.repository('app');
    const head = lab.git('app', 'rev-parse', 'HEAD');
    renameSync(lab.at('app', 'a'), lab.at('app', 'b'));
    lab.write('app', 'a', 'first\n');
    rmSync(lab.at('app', 'b'));
    expect(await brought('app', 'WORKTREE')).toMatchObject({ commit: head, dirty: false, base: head });
  });

  test('sends of a changed tree only what is new since the last one', async () => {
    lab.repository('app');
    lab.write('app', 'data', randomBytes(400_000));
    await brought('app', 'WORKTREE');
    lab.write('app', 'note', 'new\n');
    const { commit } = await brought('app', 'WORKTREE');
    expect(lab.machine.packs[1]).toBeLessThan(1000);
    expect(lab.machine.paths(commit)).toEqual(['a', 'data', 'note']);
    // What was sent as a snapshot is not sent once more as a commit.
    lab.commit('app');
    await brought('app', 'HEAD');
    expect(lab.machine.packs[2]).toBeLessThan(1000);
    // Without the store all of it is sent once more, and nothing is wrong.
    rmSync(lab.at('cache'), { recursive: true });
    lab.write('app', 'note', 'newer\n');
    const again = await brought('app', 'WORKTREE');
    expect(lab.machine.content(again.commit, 'note')).toBe('newer\n');
  });

  test('of a repository without a commit, and of one in the middle of a merge', async () => {
    lab.git('.', 'init', '-q', 'new');
    await expect(brought('new', 'HEAD')).rejects.toMatchObject({ code: 'unknown_ref' });
    lab.write('new', 'x', 'x\n');
    const first = await brought('new', 'WORKTREE');
    expect([first.base, lab.machine.paths(first.commit)]).toEqual([undefined, ['x']]);

    lab.repository('app');
    lab.git('app', 'checkout', '-q', '-b', 'other');
    lab.write('app', 'a', 'theirs\n');
    lab.commit('app');
    lab.git('app', 'checkout', '-q', 'main');
    lab.write('app', 'a', 'ours\n');
    lab.commit('app');
    expect(() => lab.git('app', 'merge', '-q', 'other')).toThrow();
    const { commit } = await brought('app', 'WORKTREE');
    expect(lab.machine.content(commit, 'a')).toContain('<<<<<<<');
    expect(lab.git('app', 'status', '--short')).toBe('AA a'.replace('AA', 'UU'));
  });

  test('names untracked files over 10 MiB and sends them only where that is asked for', async () => {
    lab.repository('app');
    lab.write('app', 'small', Buffer.alloc(10 * 2 ** 20));
    lab.write('app', 'data set', Buffer.alloc(10 * 2 ** 20 + 1));
    await expect(brought('app', 'WORKTREE')).rejects.toMatchObject({
      code: 'too_large',
      message: expect.stringContaining('data set (11 MiB)'),
      details: {
        hint: expect.stringContaining('--include-large'),
        facts: { large_files: ['data set (11 MiB)'] },
      },
    });
    const { commit } = await brought('app', 'WORKTREE', true);
    expect(lab.machine.paths(commit)).toEqual(['a', 'data set', 'small']);
  });

  test('keeps line ends as the attributes have them, and names that differ in case', async () => {
    lab.repository('app');
    lab.write('app', '.gitattributes', '*.bat text eol=crlf\n*.sh text eol=lf\n');
    lab.write('app', 'x.bat', 'a\r\nb\r\n');
    lab.write('app', 'x.sh', 'a\r\n');
    lab.write('app', 'NAME', 'upper');
    lab.write('app', 'name', 'lower');
    const { commit } = await brought('app', 'WORKTREE');
    const text = (path: string): string => lab.machine.content(commit, path);
    expect(['x.bat', 'x.sh', 'NAME', 'name'].map(text)).toEqual(['a\nb\n', 'a\n', 'upper', 'lower']);
    lab.commit('app');
    expect(lab.git('app', 'rev-parse', 'HEAD^{tree}')).toBe(lab.git('app', 'write-tree'));
    expect((await brought('app', 'WORKTREE')).dirty).toBe(false);
  });

  test('says which submodules, nested repositories and LFS files are not in it', async () => {
    lab.repository('lib');
    lab.repository('app');
    lab.git(
      'app',
      '-c',
      'protocol.file.allow=always',
      'submodule',
      '--quiet',
      'add',
      lab.at('lib'),
      'vendor/lib',
    );
    lab.write('app', '.gitattributes', '*.bin filter=lfs diff=lfs merge=lfs -text\n');
    lab.write('app', 'x.bin', 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n');
    lab.commit('app');
    lab.repository('app/nested');
    const { commit, dirty, leftOut } = await brought('app', 'WORKTREE');
    expect(dirty).toBe(false);
    expect(leftOut).toEqual([
      'submodules are not sent, their folders are empty there: vendor/lib',
      'folders with a repository of their own are not sent: nested/',
      'files of Git LFS (*.bin) are pointers there, but for those that are changed here',
    ]);
    expect(lab.machine.paths(commit)).toEqual(['.gitattributes', '.gitmodules', 'a', 'vendor/lib', 'x.bin']);
  });
});
