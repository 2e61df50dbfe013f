import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ArtifactFile } from '@codex-remote/protocol/schema';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Destination, type FetchOrder, fetchArtifacts } from '../../src/artifacts/index.ts';
import type { FilePart } from '../../src/index.ts';

let dir: string;
let destination: Destination;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'fetch-'));
  destination = await Destination.open(join(dir, 'dst'));
});
afterEach(() => {
  destination.discard();
  rmSync(dir, { recursive: true });
});

const there = (name: string): string => join(dir, 'dst', name);

function artifact(path: string | Buffer, text: string): ArtifactFile {
  const name = typeof path === 'string' ? { path } : { path_b64: path.toString('base64') };
  return { ...name, size: text.length, sha256: createHash('sha256').update(text).digest('hex') };
}

/** A machine that sends this for everything, in pieces. */
function machine(...pieces: string[]) {
  return {
    async *read(): AsyncGenerator<FilePart, void, void> {
      for (const piece of pieces) yield { kind: 'data', bytes: Buffer.from(piece) };
      yield { kind: 'end', next: 0, complete: true };
    },
  };
}

const fetch = (files: ArtifactFile[], pieces: string[], more: Partial<FetchOrder> = {}) =>
  fetchArtifacts(machine(...pieces), destination, {
    ...{ id: 'x', connectWaitMs: 0, files, force: false, autorun: false },
    ...more,
  });

/** Every name below the folder of the test. */
const everything = () => readdirSync(dir, { recursive: true, encoding: 'utf8' }).sort();

test.each([
  ['../escaped', 'outside'],
  ['/etc/escaped', 'outside'],
  ['a/../../escaped', 'outside'],
  ['a//b', 'outside'],
  ['.', 'outside'],
  ['', 'outside'],
  ['a\0b', 'outside'],
  ['.git/hooks/post-checkout', 'git'],
  ['sub/.GIT/config', 'git'],
  ['.g\u200cit/config', 'git'],
  ['git~1/config', 'git'],
])('a machine that calls an artifact %j writes nothing [row 94]', async (path, why) => {
  expect(await fetch([artifact(path, 'x')], ['x'], { force: true, autorun: true })).toEqual([
    { kind: 'refused', why },
  ]);
  expect(everything()).toEqual(['dst']);
});

test('what a link in the folder leads to is neither written nor replaced [row 94]', async () => {
  mkdirSync(join(dir, 'outside'));
  writeFileSync(join(dir, 'outside/file'), 'mine');
  symlinkSync('../outside', there('linked'));
  symlinkSync('../outside/file', there('file'));
  const files = [artifact('linked/new', 'x'), artifact('linked/file', 'x'), artifact('file', 'x')];
  const fates = await fetch(files, ['x'], { force: true });
  expect(fates).toEqual([
    { kind: 'refused', why: 'blocked' },
    { kind: 'refused', why: 'blocked' },
    { kind: 'fetched' },
  ]);
  expect(readFileSync(join(dir, 'outside/file'), 'utf8')).toBe('mine');
  expect(readdirSync(join(dir, 'outside'))).toEqual(['file']);
});

test.each([
  ['another content', ['other']],
  ['less', ['tex']],
  ['more, without an end', Array.from({ length: 1000 }, () => 'text')],
])('%s than the list says is not there, nor anything half', async (_what, pieces) => {
  await expect(fetch([artifact('a/file', 'text')], pieces)).rejects.toMatchObject({ code: 'file_changed' });
  expect(everything()).toEqual(['dst', 'dst/a']);
});

test('what acts by itself is held back, also by a name that a file system folds [row 96]', async () => {
  const names = ['.envrc', 'a/.Husky/pre-commit', 'CLAUDE.md', '.vscode/tasks.json'];
  const files = [...names, 'plain'].map((name) => artifact(name, 'x'));
  expect((await fetch(files, ['x'])).map(({ kind }) => kind)).toEqual([
    ...names.map(() => 'held_back'),
    'fetched',
  ]);
  expect(everything()).toEqual(['dst', 'dst/plain']);
  expect((await fetch(files, ['x'], { autorun: true })).map(({ kind }) => kind)).toEqual([
    ...names.map(() => 'fetched'),
    'same',
  ]);
});

test('a name that is no text is kept as it is, and one that is a folder there stays one', async () => {
  const odd = Buffer.from([0x66, 0xff]);
  mkdirSync(there('folder'));
  const fates = await fetch([artifact(odd, 'x'), artifact('folder', 'x')], ['x'], { force: true });
  expect(fates).toEqual([{ kind: 'fetched' }, { kind: 'refused', why: 'blocked' }]);
  expect(existsSync(Buffer.concat([Buffer.from(`${there('')}/`), odd]))).toBe(true);
});
