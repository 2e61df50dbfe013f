import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type ChangedFile, type DiffHead, diffEvent } from '@codex-remote/protocol/schema';
import { RecordParser } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sendDiff } from '../../src/git/send-diff.ts';
import { ProjectLab } from '../support/project-lab.ts';
import { Repository } from '../support/repository.ts';
import { waitFor } from '../support/wait-for.ts';

let lab: ProjectLab;
beforeEach(() => {
  lab = new ProjectLab({ worktrees: { maxCount: 0, maxTotalBytes: 0 } });
});
afterEach(() => lab.close());

interface Read {
  head: DiffHead;
  files: ChangedFile[];
  patch: Buffer;
  next: number;
}

/** As the controller reads it, for one part and from one place on. */
async function read(id: string, part: 'files' | 'patch', from = 0, wanted?: string): Promise<Read> {
  const { signal } = new AbortController();
  const { mirror, head } = await lab.store.git.results.of(lab.store.get(id), wanted, signal);
  const parser = new RecordParser();
  const seen: Read = { head, files: [], patch: Buffer.alloc(0), next: -1 };
  const write = async (bytes: Uint8Array): Promise<void> => {
    for (const record of parser.push(bytes)) {
      if (record.kind === 'data') {
        expect(record.offset).toBe(from + seen.patch.byteLength);
        seen.patch = Buffer.concat([seen.patch, record.bytes]);
      } else if (record.kind === 'event') {
        const event = diffEvent.parse(record.value);
        if ('files' in event) seen.files.push(...event.files);
        if ('end' in event) seen.next = event.end.next;
      }
    }
  };
  await sendDiff(mirror, head, { part, from }, { write }, signal);
  return seen;
}

const edit = [
  'printf "1\\n2\\n3\\n" > text',
  'chmod +x run',
  'rm gone',
  'mkdir -p sub; printf x > "sub/new\nline"',
  'printf "\\001\\000\\377" > binary',
  'ln -s text link',
  'printf y > "$(printf "b\\377")"',
  'echo ignored > cache',
].join('; ');

test('of two who ask at once, one who goes away takes nothing from the other', async () => {
  const repository = new Repository(lab.at('user', 'one'));
  const commit = repository.commit({ text: '1\n' });
  await lab.send(commit, repository);
  const state = await lab.run('echo 2 > text', { worktree: repository.spec(commit, { keep: true }) });
  const [leaving, staying] = [new AbortController(), new AbortController()];
  const { results } = lab.store.git;
  const asked = Promise.allSettled([
    results.of(state, undefined, leaving.signal),
    results.of(state, undefined, staying.signal),
  ]);
  leaving.abort();
  const [left, stayed] = await asked;
  expect(left).toMatchObject({ status: 'rejected', reason: { code: 'cancelled' } });
  expect(stayed).toMatchObject({ status: 'fulfilled', value: { head: { commit, running: false } } });
});

describe.each(['sha1', 'sha256'] as const)('of a repository of %s', (format) => {
  test('it tells every change, and its patch makes the same tree', async () => {
    const repository = new Repository(lab.at('user', format), format);
    const commit = repository.commit({
      ...{ text: '1\n2\n', run: '#!/bin/sh\n', gone: 'g', '.gitignore': 'cache\n' },
      binary: Buffer.from([0, 1, 2]),
    });
    await lab.send(commit, repository);
    const { exec_id, worktree } = await lab.run(edit, { worktree: repository.spec(commit, { keep: true }) });
    const { head, files, next } = await read(exec_id, 'files');
    expect(next).toBe(7);
    expect(head).toMatchObject({ commit, tree: repository.tree(commit), running: false });
    expect(files.map(({ old_id, new_id, ...file }) => file)).toEqual([
      {
        path: 'binary',
        status: 'modified',
        old_mode: '100644',
        new_mode: '100644',
        old_size: 3,
        new_size: 3,
      },
      {
        path_b64: 'Yv8=',
        status: 'added',
        new_mode: '100644',
        new_size: 1,
        added_lines: 1,
        deleted_lines: 0,
      },
      { path: 'gone', status: 'deleted', old_mode: '100644', old_size: 1, added_lines: 0, deleted_lines: 1 },
      { path: 'link', status: 'added', new_mode: '120000', new_size: 4, added_lines: 1, deleted_lines: 0 },
      {
        ...{ path: 'run', status: 'modified', old_mode: '100644', new_mode: '100755' },
        ...{ old_size: 10, new_size: 10, added_lines: 0, deleted_lines: 0 },
      },
      {
        path: 'sub/new\nline',
        status: 'added',
        new_mode: '100644',
        new_size: 1,
        added_lines: 1,
        deleted_lines: 0,
      },
      {
        ...{ path: 'text', status: 'modified', old_mode: '100644', new_mode: '100644' },
        ...{ old_size: 4, new_size: 6, added_lines: 1, deleted_lines: 0 },
      },
    ]);
    const { patch } = await read(exec_id, 'patch');
    execFileSync('git', ['apply', '--index', '--binary', '-'], { cwd: repository.path, input: patch });
    expect(repository.git('write-tree')).toBe(head.result);
    expect(readFileSync(join(worktree?.path ?? '', 'cache'), 'utf8')).toBe('ignored\n');
  });
});

test('a file that is ignored and of the commit all the same is told, another is not', async () => {
  lab.repository.write({ '.gitignore': 'out\n', 'out/of the commit': '1\n', 'out/same': 's\n' });
  lab.repository.git('add', '-f', 'out');
  const commit = await lab.commit();
  const { exec_id } = await lab.runAt(commit, 'echo 2 > "out/of the commit"; echo n > out/new', {
    keep: true,
  });
  expect((await read(exec_id, 'files')).files).toMatchObject([
    { path: 'out/of the commit', status: 'modified' },
  ]);
});

test('it goes on at any file or byte, to the same result', async () => {
  const commit = await lab.commit({ text: '1\n' });
  const { exec_id } = await lab.runAt(commit, 'for i in 1 2 3; do seq 20000 > f$i; done', { keep: true });
  const whole = await read(exec_id, 'patch');
  const { result } = whole.head;
  for (const from of [0, 1, 70_000, whole.patch.byteLength])
    expect((await read(exec_id, 'patch', from, result)).patch).toEqual(whole.patch.subarray(from));
  await expect(read(exec_id, 'patch', whole.patch.byteLength + 1, result)).rejects.toMatchObject({
    code: 'usage',
  });
  const { files } = await read(exec_id, 'files');
  expect((await read(exec_id, 'files', 2, result)).files).toEqual(files.slice(2));
  await expect(read(exec_id, 'files', 0, commit)).rejects.toMatchObject({ code: 'file_changed' });
});

test('of a running exec it is that of now, and can be read to its end; of an ended one it stays', async () => {
  const commit = await lab.commit({ text: '1\n' });
  const [one, two] = [lab.at('one'), lab.at('two')];
  const wait = (path: string) => `while [ ! -e ${path} ]; do sleep 0.02; done`;
  const script = `echo a > a; echo > ${one}; ${wait(two)}; echo b > a`;
  const { state } = await lab.start(script, { worktree: lab.repository.spec(commit, { keep: true }) });
  const { exec_id: id, worktree } = state;
  await waitFor('the job', () => existsSync(one));
  const before = await read(id, 'files');
  expect(before.head.running).toBe(true);
  lab.repository.write({ '../../two': '' });
  await lab.store.ended(id);
  await expect(read(id, 'patch', 0, before.head.result)).rejects.toMatchObject({ code: 'file_changed' });
  const after = await read(id, 'patch');
  expect(after.head.running).toBe(false);
  expect(after.patch.toString()).toContain('+b\n');
  rmSync(join(worktree?.path ?? '', 'a'));
  expect((await read(id, 'patch')).patch).toEqual(after.patch);
});

test('it outlives the worktree that is removed early, and goes with the exec', async () => {
  const commit = await lab.commit({ text: '1\n' });
  const { exec_id, worktree } = await lab.runAt(commit, 'echo made > made');
  await waitFor('the removal', () => !existsSync(worktree?.path ?? ''));
  expect((await read(exec_id, 'patch')).patch.toString()).toContain('+made\n');
  lab.reopen();
  expect((await read(exec_id, 'files')).files.map(({ path }) => path)).toEqual(['made']);
});

test('what is in a workspace when its exec ends is kept, also by an agent that died before', async () => {
  const commit = await lab.commit({ text: '1\n' });
  const first = await lab.runAt(commit, 'echo first > text', { workspace: 'w' });
  const { state } = await lab.start('echo second > text; sleep 0.2', {
    worktree: lab.repository.spec(commit, { workspace: 'w' }),
  });
  lab.reopen();
  await lab.store.ended(state.exec_id);
  await lab.runAt(commit, 'echo third > text', { workspace: 'w' });
  expect((await read(first.exec_id, 'patch')).patch.toString()).toContain('+first\n');
  expect((await read(state.exec_id, 'patch')).patch.toString()).toContain('+second\n');
});

describe('there is nothing to tell', () => {
  test('of an exec without a worktree, before its start, or when the project was removed', async () => {
    const commit = await lab.commit({ text: '1\n' });
    const plain = await lab.run('true');
    await expect(read(plain.exec_id, 'files')).rejects.toMatchObject({ code: 'no_worktree' });
    const worktree = lab.repository.spec(commit, { keep: true });
    const running = await lab.start('sleep 60', { exec_id: 'running' });
    const queued = await lab.start('true', { worktree, after: ['running'] });
    await expect(read(queued.state.exec_id, 'files')).rejects.toMatchObject({ code: 'exec_running' });
    await lab.store.cancel(queued.state.exec_id, 'TERM', 0);
    await lab.store.cancel(running.state.exec_id, 'KILL', 0);
    const { exec_id } = await lab.runAt(commit, 'echo > x', { keep: true });
    await lab.store.git.worktrees.removeProject('site');
    await expect(read(exec_id, 'files')).rejects.toMatchObject({ code: 'no_worktree' });
  });

  test('when the exec has removed its worktree', async () => {
    const commit = await lab.commit({ text: '1\n' });
    const { exec_id } = await lab.runAt(commit, 'rm -rf "$PWD"', { keep: true });
    await expect(read(exec_id, 'files')).rejects.toMatchObject({ code: 'no_worktree' });
  });
});

test('[row 90] what a job sets in its worktree decides neither what is told nor what runs', async () => {
  const commit = await lab.commit({ text: '1\n', other: 'o\n' });
  const script = [
    'trap="$PWD/trap"; printf "#!/bin/sh\\n: > %s/sprung; cat\\n" "$HOME" > trap; chmod +x trap',
    'for k in core.fsmonitor core.pager diff.external diff.t.textconv filter.t.clean filter.t.process; do git config $k "$trap"; done',
    'git config filter.t.required true',
    'echo "* filter=t diff=t" > .gitattributes',
    'git update-index --assume-unchanged text; git update-index --skip-worktree other',
    'echo 2 > text; echo p > other',
    'git init -q empty; echo e > empty/e',
    'mkfifo fifo',
    // By the job's own git until now.
    'rm -f "$HOME/sprung"',
  ].join('\n');
  const { exec_id } = await lab.runAt(commit, script, { keep: true });
  const { head, files } = await read(exec_id, 'files');
  expect(files.map(({ path }) => path)).toEqual(['.gitattributes', 'other', 'text', 'trap']);
  expect(head.skipped).toContain('empty/');
  expect((await read(exec_id, 'patch')).patch.toString()).toContain('+2\n');
  expect(existsSync(lab.at('sprung'))).toBe(false);
});
