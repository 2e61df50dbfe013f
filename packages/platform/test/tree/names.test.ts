import { isGitName, nameFault, targetFault } from '@codex-remote/platform/tree';
import { expect, test } from 'vitest';

const bytes = (text: string): string => Buffer.from(text).toString('latin1');

test.each([
  '.git',
  '.GIT',
  '.Git',
  'git~1',
  'GIT~2',
  '.git ',
  '.git.',
  bytes('.g\u200cit'),
  bytes('\ufeff.git'),
])('%j is taken for .git by some file system', (name) => expect(isGitName(name)).toBe(true));

test.each(['.gitignore', '.github', 'git', '.gi', 'digit~1', bytes('.gít')])('%j is a name', (name) => {
  expect(isGitName(name)).toBe(false);
  expect(nameFault(name)).toBeUndefined();
});

test.each([
  ['a', 'b'],
  ['a/b', '../c'],
  ['a/b/c', '../../x/y'],
  ['a', '.'],
  ['a/b', '..'],
  ['a', './b//c'],
])('a link %j that leads to %j stays in the tree', (path, target) => {
  expect(targetFault(path, target)).toBeUndefined();
});

test.each([
  ['a', '/etc/passwd'],
  ['a', '..'],
  ['a/b', '../..'],
  ['a/b', '../../etc'],
  // Where `x` is a link to a folder far above, this goes up from there.
  ['a/b', 'x/..'],
  ['a/b', '../x/../y'],
  ['a', ''],
  ['a', 'b\0c'],
  ['a', '.git/hooks'],
])('[row 94] a link %j that leads to %j is refused', (path, target) => {
  expect(targetFault(path, target)).toBeTypeOf('string');
});
