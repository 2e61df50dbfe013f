import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makePrivateDir, sweepTemporary, writeDurable, writeDurableSync } from '../src/durable.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'durable-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const mode = (path: string) => statSync(path).mode & 0o777;

describe('makePrivateDir', () => {
  it('makes every missing level 0700 under any umask', () => {
    const before = process.umask(0);
    try {
      makePrivateDir(join(dir, 'a/b'));
    } finally {
      process.umask(before);
    }
    expect([mode(join(dir, 'a')), mode(join(dir, 'a/b'))]).toEqual([0o700, 0o700]);
  });

  it('takes rights of others away from a folder that is there', () => {
    const open = join(dir, 'open');
    mkdirSync(open);
    chmodSync(open, 0o777);
    makePrivateDir(open);
    expect(mode(open)).toBe(0o700);
  });

  it('refuses a symlink and a file with state_unusable', () => {
    mkdirSync(join(dir, 'real'));
    symlinkSync(join(dir, 'real'), join(dir, 'link'));
    writeFileSync(join(dir, 'file'), '');
    for (const name of ['link', 'file']) {
      expect(() => makePrivateDir(join(dir, name))).toThrow(
        expect.objectContaining({ code: 'state_unusable' }),
      );
    }
  });
});

describe.each([
  ['writeDurableSync', async (path: string, data: string) => writeDurableSync(path, data)],
  ['writeDurable', writeDurable],
])('%s', (_name, write) => {
  it('replaces the file, 0600, and leaves nothing beside it', async () => {
    const path = join(dir, 'state.json');
    await write(path, 'one');
    await write(path, 'two');
    expect([readFileSync(path, 'utf8'), mode(path), readdirSync(dir)]).toEqual([
      'two',
      0o600,
      ['state.json'],
    ]);
  });

  it('leaves the old bytes and no temporary file when it cannot replace [row 38]', async () => {
    const path = join(dir, 'folder');
    mkdirSync(join(path, 'child'), { recursive: true });
    await expect(write(path, 'x')).rejects.toThrow();
    expect(readdirSync(dir)).toEqual(['folder']);
  });
});

it('sweeps half-written files and nothing else [row 38]', () => {
  writeFileSync(join(dir, '.tmp-state.json-0011'), 'half');
  writeFileSync(join(dir, 'state.json'), 'whole');
  sweepTemporary(dir);
  expect(readdirSync(dir)).toEqual(['state.json']);
});
