import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { run, TwoTrees, treeOf } from './support.ts';

let trees: TwoTrees;
afterEach(() => trees.close());

const odd = ['with space', 'new\nline', '-dash', '--exec=x', 'gl*b[a]?', '"quoted"\\', 'ünïcode', ':(top)x'];
const bytesName = (root: string) => Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0x66, 0xff, 0xfe])]);

function fill(root: string): void {
  mkdirSync(join(root, 'dir/deep'), { recursive: true });
  mkdirSync(join(root, 'becomes-file'));
  for (const name of odd) writeFileSync(join(root, name), `${name}\n`);
  writeFileSync(bytesName(root), 'bytes\n');
  writeFileSync(join(root, 'dir/deep/only'), 'only\n');
  writeFileSync(join(root, 'dir/text'), 'one\ntwo\nthree\n');
  writeFileSync(join(root, 'binary'), Buffer.from([0, 1, 2, 0xff, 0xfe, 10, 0]));
  writeFileSync(join(root, 'run.sh'), '#!/bin/sh\n');
  writeFileSync(join(root, 'becomes-file/a'), 'a\n');
  writeFileSync(join(root, 'becomes-folder'), 'b\n');
  writeFileSync(join(root, 'becomes-link'), 'l\n');
  writeFileSync(join(root, 'no-end'), 'no newline at the end');
  symlinkSync('dir/text', join(root, 'link'));
}

/** Every kind of change to what `fill` made. */
function edit(root: string): void {
  for (const name of odd) writeFileSync(join(root, name), `${name}\nmore\n`);
  writeFileSync(bytesName(root), 'other bytes\n');
  rmSync(join(root, 'dir/deep'), { recursive: true });
  writeFileSync(join(root, 'dir/text'), 'one\nTWO\nthree\n');
  writeFileSync(join(root, 'binary'), Buffer.from([0, 1, 2, 0xff, 0xfd, 13, 10, 0]));
  chmodSync(join(root, 'run.sh'), 0o755);
  rmSync(join(root, 'becomes-file'), { recursive: true });
  writeFileSync(join(root, 'becomes-file'), 'file\n');
  rmSync(join(root, 'becomes-folder'));
  mkdirSync(join(root, 'becomes-folder/deep'), { recursive: true });
  writeFileSync(join(root, 'becomes-folder/deep/x'), 'x\n');
  rmSync(join(root, 'becomes-link'));
  symlinkSync('run.sh', join(root, 'becomes-link'));
  writeFileSync(join(root, 'no-end'), 'other, no newline at the end');
  rmSync(join(root, 'link'));
  symlinkSync('binary', join(root, 'link'));
  mkdirSync(join(root, 'new/folder'), { recursive: true });
  writeFileSync(join(root, 'new/folder/empty'), '');
  writeFileSync(join(root, 'new/big'), Buffer.alloc(300_000, 'abcdefg\0'));
}

describe.each(['sha1', 'sha256'] as const)('in a repository of %s', (format) => {
  test('every kind of change arrives byte for byte, and git itself is left alone', async () => {
    trees = await TwoTrees.open(fill, { format });
    edit(trees.there);
    const before = [
      run(trees.here, 'rev-parse', 'HEAD'),
      run(trees.here, 'ls-files', '-s'),
      run(trees.here, 'stash', 'list'),
    ];
    const applied = await trees.apply();
    expect(treeOf(trees.here)).toEqual(treeOf(trees.there));
    expect(applied).toMatchObject({ unchanged: 0, held: [], refused: [] });
    expect(applied.changes.length).toBe(odd.length + 14);
    expect([
      run(trees.here, 'rev-parse', 'HEAD'),
      run(trees.here, 'ls-files', '-s'),
      run(trees.here, 'stash', 'list'),
    ]).toEqual(before);
    expect(readdirSync(join(trees.here, '.git/codex-remote'))).toEqual(['apply.lock']);
  });
});

test('applied again it finds all as it should be, and changes nothing', async () => {
  trees = await TwoTrees.open(fill);
  edit(trees.there);
  const { changes } = await trees.apply();
  expect(await trees.apply()).toMatchObject({ changes: [], unchanged: changes.length });
  expect(treeOf(trees.here)).toEqual(treeOf(trees.there));
});

test('a dry run says the same and writes nothing', async () => {
  trees = await TwoTrees.open(fill);
  edit(trees.there);
  const before = treeOf(trees.here);
  const dry = await trees.apply({ dryRun: true });
  expect(treeOf(trees.here)).toEqual(before);
  expect(await trees.apply()).toEqual(dry);
});

test('a file keeps the permissions that it has here', async () => {
  trees = await TwoTrees.open(fill);
  edit(trees.there);
  chmodSync(join(trees.here, 'dir/text'), 0o600);
  chmodSync(join(trees.here, 'run.sh'), 0o640);
  await trees.apply();
  expect(statSync(join(trees.here, 'dir/text')).mode & 0o777).toBe(0o600);
  expect(statSync(join(trees.here, 'run.sh')).mode & 0o777).toBe(0o750);
});

describe('a tree that has drifted is refused whole', () => {
  const drifts: Record<string, (root: string) => void> = {
    'dir/text': (root) => writeFileSync(join(root, 'dir/text'), 'one\ntwo\nthree\nmine\n'),
    'run.sh': (root) => rmSync(join(root, 'run.sh')),
    'new/folder/empty': (root) => {
      mkdirSync(join(root, 'new/folder'), { recursive: true });
      writeFileSync(join(root, 'new/folder/empty'), 'mine');
    },
    'becomes-link': (root) => chmodSync(join(root, 'becomes-link'), 0o755),
    link: (root) => {
      rmSync(join(root, 'link'));
      symlinkSync('elsewhere', join(root, 'link'));
    },
    'becomes-file': (root) => writeFileSync(join(root, 'becomes-file/mine'), 'mine'),
    'dir/deep/only': (root) => {
      renameSync(join(root, 'dir/deep'), join(root, 'elsewhere'));
      symlinkSync('../elsewhere', join(root, 'dir/deep'));
    },
  };
  test.each(Object.entries(drifts))('by %j', async (path, drift) => {
    trees = await TwoTrees.open(fill);
    edit(trees.there);
    drift(trees.here);
    const before = treeOf(trees.here);
    for (const dryRun of [true, false])
      await expect(trees.apply({ dryRun })).rejects.toMatchObject({
        code: 'tree_drifted',
        details: { facts: { files: [path], files_total: 1 } },
      });
    expect(treeOf(trees.here)).toEqual(before);
  });

  test.each([
    ['becomes-file/a', (path: string) => writeFileSync(path, 'mine\n')],
    ['dir/text', (path: string) => writeFileSync(path, 'mine\n')],
    ['new/big', (path: string) => mkdirSync(path, { recursive: true })],
  ] as const)('by %j while the patch comes', async (name, change) => {
    trees = await TwoTrees.open(fill);
    edit(trees.there);
    const { patch } = trees.result();
    let before = {};
    const meanwhile = async function* () {
      change(join(trees.here, name));
      before = treeOf(trees.here);
      yield patch;
    };
    await expect(trees.apply({ patch: meanwhile })).rejects.toMatchObject({
      code: 'tree_drifted',
      details: { facts: { files: [name] } },
    });
    expect(treeOf(trees.here)).toEqual(before);
  });

  test('what the exec did not touch may have changed', async () => {
    trees = await TwoTrees.open(fill);
    writeFileSync(join(trees.there, 'dir/text'), 'theirs\n');
    writeFileSync(join(trees.here, 'run.sh'), 'mine\n');
    await trees.apply();
    expect(readFileSync(join(trees.here, 'run.sh'), 'utf8')).toBe('mine\n');
    expect(readFileSync(join(trees.here, 'dir/text'), 'utf8')).toBe('theirs\n');
  });

  test('a repository that never had the commit is refused', async () => {
    trees = await TwoTrees.open(fill);
    edit(trees.there);
    await expect(trees.apply({ commits: ['0'.repeat(40)] })).rejects.toMatchObject({ code: 'unknown_ref' });
    await expect(trees.apply({ dir: trees.dir })).rejects.toMatchObject({ code: 'not_repository' });
  });
});

test('[row 96] files that act by themselves are held back unless they are asked for', async () => {
  trees = await TwoTrees.open((root) => {
    writeFileSync(join(root, 'code'), 'code\n');
    mkdirSync(join(root, 'config/editor'), { recursive: true });
    writeFileSync(join(root, 'config/editor/tasks.json'), '{}');
    symlinkSync('config/editor', join(root, '.vscode'));
    mkdirSync(join(root, 'own-hooks'));
    writeFileSync(join(root, 'own-hooks/pre-commit'), 'exit 0\n');
  });
  run(trees.here, 'config', 'core.hooksPath', 'own-hooks');
  const auto: Record<string, string> = {
    '.envrc': 'shell',
    'sub/.ENVRC': 'shell',
    '.husky/pre-commit': 'git_hook',
    'own-hooks/pre-commit': 'git_hook',
    '.idea/workspace.xml': 'editor',
    'config/editor/tasks.json': 'editor',
    'a/b.code-workspace': 'editor',
    '.claude/settings.json': 'agent',
    '.codex/config.toml': 'agent',
    '.cursor/rules/x.mdc': 'agent',
    'AGENTS.md': 'agent',
    'sub/CLAUDE.md': 'agent',
    '.npmrc': 'package_manager',
    '.cargo/config.toml': 'package_manager',
    '.gdbinit': 'debugger',
  };
  for (const path of Object.keys(auto)) {
    mkdirSync(join(trees.there, path, '..'), { recursive: true });
    writeFileSync(join(trees.there, path), 'run me\n');
  }
  writeFileSync(join(trees.there, 'code'), 'better code\n');
  const before = treeOf(trees.here);
  const applied = await trees.apply();
  expect(Object.fromEntries(applied.held.map(({ path, why }) => [path, why]))).toEqual(auto);
  expect(treeOf(trees.here)).toEqual({ ...before, code: '- better code\n' });
  expect((await trees.apply({ allowAutorun: true })).changes).toHaveLength(Object.keys(auto).length);
  expect(treeOf(trees.here)).toEqual(treeOf(trees.there));
});

test('links that lead out of the tree are refused, whatever else is asked for', async () => {
  trees = await TwoTrees.open((root) => {
    mkdirSync(join(root, 'dir/deep'), { recursive: true });
    writeFileSync(join(root, 'dir/deep/x'), 'x');
  });
  const links: Record<string, string> = {
    absolute: '/etc/passwd',
    up: '../x',
    'dir/deep/up': '../../../x',
    'dir/around': 'deep/../../../x',
    'to-git': '.git/hooks',
    'dir/case': '../.GIT/config',
  };
  symlinkSync('../x', join(trees.there, 'dir/stays'));
  symlinkSync('nothing/there', join(trees.there, 'dangling'));
  for (const [path, target] of Object.entries(links)) symlinkSync(target, join(trees.there, path));
  const applied = await trees.apply({ allowAutorun: true });
  expect(applied.refused.map(({ path, why }) => [path, why]).sort()).toEqual(
    Object.keys(links)
      .map((path) => [path, 'link_outside'])
      .sort(),
  );
  expect(applied.changes.map(({ path }) => path).sort()).toEqual(['dangling', 'dir/stays']);
});

test('a link is refused that leads out over a link which is here', async () => {
  trees = await TwoTrees.open((root) => symlinkSync('/etc', join(root, 'out')));
  symlinkSync('out/passwd', join(trees.there, 'link'));
  expect(await trees.apply()).toMatchObject({
    changes: [],
    refused: [{ path: 'link', why: 'link_outside' }],
  });
});

describe('what a machine may claim', () => {
  test.each([
    ['.git/hooks/post-checkout', 'git'],
    ['sub/.Git/config', 'git'],
    ['.git /config', 'git'],
    ['GIT~1/config', 'git'],
    ['.g\u200cit/config', 'git'],
    ['.git::$INDEX_ALLOCATION/x', 'git'],
    ['../outside', 'outside'],
    ['/etc/passwd', 'outside'],
    ['a//b', 'outside'],
    ['a/./b', 'outside'],
  ])('[row 90] %j is refused by name', async (path, why) => {
    trees = await TwoTrees.open(fill);
    const id = 'ce013625030ba8dba906f756967f9e9ca394464a';
    const patch = [
      `diff --git a/${path} b/${path}`,
      'new file mode 100644',
      `index 0000000000000000000000000000000000000000..${id}`,
      '--- /dev/null',
      `+++ b/${path}`,
      '@@ -0,0 +1 @@',
      '+hello',
      '',
    ].join('\n');
    const before = treeOf(trees.here);
    const applied = await trees.apply({
      files: [{ path, status: 'added', new_mode: '100644', new_id: id }],
      patch: async function* () {
        yield Buffer.from(patch);
      },
      allowAutorun: true,
    });
    expect(applied).toMatchObject({ changes: [], refused: [{ why }] });
    expect(treeOf(trees.here)).toEqual(before);
  });

  test('a patch that is about other files than it says, or makes others, is damaged', async () => {
    trees = await TwoTrees.open(fill);
    edit(trees.there);
    const { files, patch } = trees.result();
    const before = treeOf(trees.here);
    const other = Buffer.from(patch.toString('latin1').replace('+TWO', '+2WO'), 'latin1');
    for (const [claimed, sent] of [
      [files, other],
      [files, patch.subarray(0, patch.length / 2)],
      [files.slice(1), patch],
    ] as const)
      await expect(
        trees.apply({
          files: claimed,
          patch: async function* () {
            yield sent;
          },
        }),
      ).rejects.toMatchObject({ code: 'patch_damaged' });
    expect(treeOf(trees.here)).toEqual(before);
  });

  test('submodules are named, and left out', async () => {
    trees = await TwoTrees.open(fill);
    const inner = join(trees.there, 'vendored');
    run(trees.there, 'init', '-q', inner);
    writeFileSync(join(inner, 'x'), 'x');
    run(inner, 'add', '-A');
    run(inner, '-c', 'user.name=a', '-c', 'user.email=a@b.c', 'commit', '-qm', 'x');
    writeFileSync(join(trees.there, 'dir/text'), 'changed\n');
    const applied = await trees.apply();
    expect(applied.refused).toEqual([{ path: 'vendored', why: 'submodule' }]);
    expect(applied.changes.map(({ path }) => path)).toEqual(['dir/text']);
    expect(existsSync(join(trees.here, 'vendored'))).toBe(false);
  });
});

describe('as the user has set up the repository', () => {
  test('line ends are those of the tree here', async () => {
    trees = await TwoTrees.open((root) => {
      writeFileSync(join(root, '.gitattributes'), '*.txt text eol=crlf\n');
      writeFileSync(join(root, 'a.txt'), 'one\r\ntwo\r\n');
    });
    writeFileSync(join(trees.there, 'a.txt'), 'one\r\nTWO\r\nthree\r\n');
    await trees.apply();
    expect(readFileSync(join(trees.here, 'a.txt'), 'latin1')).toBe('one\r\nTWO\r\nthree\r\n');
    expect(run(trees.here, 'diff', '--stat')).toContain('a.txt');
  });

  test('[row 90] neither filters nor hooks nor fsmonitor of a repository run', async () => {
    trees = await TwoTrees.open((root) => {
      writeFileSync(join(root, '.gitattributes'), '* filter=trap\n');
      writeFileSync(join(root, 'a'), 'a\n');
    });
    const mark = join(trees.dir, 'sprung');
    const trap = join(trees.dir, 'trap');
    writeFileSync(trap, `#!/bin/sh\n: > '${mark}'\ncat\n`, { mode: 0o755 });
    for (const name of ['filter.trap.clean', 'filter.trap.smudge', 'filter.trap.process', 'core.fsmonitor'])
      run(trees.here, 'config', name, trap);
    run(trees.here, 'config', 'filter.trap.required', 'true');
    for (const name of ['post-index-change', 'post-checkout', 'applypatch-msg', 'pre-applypatch'])
      writeFileSync(join(trees.here, '.git/hooks', name), `#!/bin/sh\n${trap}\n`, { mode: 0o755 });
    writeFileSync(join(trees.there, 'a'), 'b\n');
    await trees.apply();
    expect(readFileSync(join(trees.here, 'a'), 'utf8')).toBe('b\n');
    expect(existsSync(mark)).toBe(false);
  });

  test('in another worktree of a repository, and from a folder in it', async () => {
    trees = await TwoTrees.open(fill);
    edit(trees.there);
    const second = join(trees.dir, 'second');
    run(trees.here, 'worktree', 'add', '-q', second);
    await trees.apply({ dir: join(second, 'dir') });
    expect(treeOf(second)).toEqual(treeOf(trees.there));
  });
});
