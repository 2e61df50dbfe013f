import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makePrivateDir } from '../src/durable.ts';
import { type Accounts, checkParents } from '../src/trusted-parents.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'parents-'));
  // Others get to what is in it.
  chmodSync(dir, 0o755);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const accounts = (more: Partial<Accounts> = {}): Accounts => ({
  uid: process.getuid?.() ?? 0,
  user: () => 'me',
  groups: () => 'root:x:0:\nme:x:4711:\nteam:x:4712:me,you\nusers:x:4714:\n',
  allOwnersKnown: () => true,
  ...more,
});
const made = (name: string, mode: number, gid?: number): string => {
  const path = join(dir, name);
  mkdirSync(path);
  if (gid !== undefined) chownSync(path, process.getuid?.() ?? 0, gid);
  chmodSync(path, mode);
  return path;
};
const refusal = (folder: string) =>
  expect.objectContaining({
    code: 'state_unusable',
    message: expect.stringContaining(folder),
    details: expect.objectContaining({ hint: expect.any(String) }),
  });

describe('a folder for our files', () => {
  it.each([
    ['world-writable', 0o777],
    ['world-writable and not readable', 0o733],
  ])('in one that is %s is refused, and nothing is made [row 100]', (_what, mode) => {
    const open = made('open', mode);
    expect(() => makePrivateDir(join(open, 'a/b'))).toThrow(refusal(open));
    expect(() => makePrivateDir(join(open, 'a'))).toThrow(refusal(open));
  });

  it('in a sticky one, as /tmp is, is fine', () => {
    expect(() => makePrivateDir(join(made('tmp', 0o1777), 'a/b'))).not.toThrow();
  });

  it('behind one that nobody else may pass is fine, whatever that holds', () => {
    const shut = made('shut', 0o755);
    const open = join(shut, 'open');
    mkdirSync(open);
    chmodSync(open, 0o777);
    expect(() => checkParents(join(open, 'a'), accounts())).toThrow(refusal(open));
    chmodSync(shut, 0o700);
    expect(() => checkParents(join(open, 'a'), accounts())).not.toThrow();
  });

  it('behind a symlink is judged by both ways to it', () => {
    const open = made('open', 0o777);
    mkdirSync(join(open, 'real'));
    symlinkSync(join(open, 'real'), join(dir, 'link'));
    expect(() => checkParents(join(dir, 'link/a'), accounts())).toThrow(refusal(open));
    symlinkSync(made('fine', 0o755), join(open, 'link'));
    expect(() => checkParents(join(open, 'link/a'), accounts())).toThrow(refusal(open));
  });

  it.runIf(process.getuid?.() === 0)(
    'in one of a group is fine where the group is one user, else not',
    () => {
      const own = made('own', 0o775, 4711);
      expect(() => checkParents(join(own, 'a'), accounts())).not.toThrow();
      const shared = made('shared', 0o775, 4712);
      expect(() => checkParents(join(shared, 'a'), accounts())).toThrow(refusal(shared));
      for (const gid of [4713, 4714]) {
        const other = made(String(gid), 0o775, gid);
        expect(() => checkParents(join(other, 'a'), accounts())).toThrow(refusal(other));
      }
    },
  );

  it.runIf(process.getuid?.() === 0)(
    'in one of another user is refused, of root it is fine [row 100]',
    () => {
      const theirs = made('theirs', 0o755);
      chownSync(theirs, 65_534, 65_534);
      expect(() => makePrivateDir(join(theirs, 'a'))).toThrow(refusal(theirs));
      // In a user namespace that is whoever has no number there, root of the host for one.
      expect(() => checkParents(join(theirs, 'a'), accounts({ allOwnersKnown: () => false }))).not.toThrow();
      expect(() => checkParents(join(dir, 'a'), accounts({ uid: 1000 }))).not.toThrow();
    },
  );
});
