import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { snapshotOf } from '@codex-remote/client/git';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { GitLab } from './support/lab.ts';

const lab = new GitLab();
afterAll(() => lab.close());

const path = fc
  .array(fc.constantFrom('a', 'A', 'b c', '-x', 'n\nl', 'ü', 'skip', '.hid'), { minLength: 1, maxLength: 3 })
  .map((names) => names.join('/'));
const change = fc.oneof(
  fc.record({
    kind: fc.constant('write' as const),
    path,
    text: fc.constantFrom('', 'x', 'a\r\nb\r\n', 'y\n'),
  }),
  fc.record({
    kind: fc.constantFrom('remove', 'link', 'executable', 'stage', 'commit', 'intend', 'unstage'),
    path,
  }),
);
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

/** Does what a user does. What cannot be done where it is asked is not. */
function apply(folder: string, made: Change): void {
  const file = lab.at(folder, made.path);
  try {
    if (made.kind === 'write' || made.kind === 'link') {
      mkdirSync(dirname(file), { recursive: true });
      if (made.kind === 'write') writeFileSync(file, made.text);
      else symlinkSync('to/nowhere', file);
    } else if (made.kind === 'remove') rmSync(file, { recursive: true });
    else if (made.kind === 'executable') chmodSync(file, 0o755);
    else if (made.kind === 'commit') lab.git(folder, 'commit', '-q', '--allow-empty', '-m', 'x');
    else if (made.kind === 'intend') lab.git(folder, 'add', '-N', '--', made.path);
    else if (made.kind === 'unstage') lab.git(folder, 'rm', '-rq', '--cached', '--', made.path);
    else lab.git(folder, 'add', '-A', '--', made.path);
  } catch {
    // A folder in place of a file, or nothing there.
  }
}

let repositories = 0;

test('a snapshot has the tree that git add of everything would make, and leaves the index as it was', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 14 }), async (changes) => {
      const folder = `r${repositories++}`;
      lab.repository(folder);
      lab.write(folder, '.gitignore', 'skip\n');
      lab.write(folder, '.gitattributes', '* text=auto\n');
      for (const made of changes) apply(folder, made);
      const index = lab.run(folder, ['ls-files', '-s', '-z']).toString();
      const repository = await lab.find(folder);
      const { tree } = await snapshotOf(repository, lab.store(repository));
      expect(lab.run(folder, ['ls-files', '-s', '-z']).toString()).toBe(index);
      lab.run(folder, ['add', '-A']);
      expect(tree).toBe(lab.git(folder, 'write-tree'));
      rmSync(lab.at(folder), { recursive: true });
    }),
    { numRuns: process.env.CR_FULL === '1' ? 150 : 6 },
  );
});
