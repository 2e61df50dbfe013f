import { type Entry, ManifestEncoder, ManifestParser, treeLimits } from '@codex-remote/platform/tree';
import fc from 'fast-check';
import { expect, test } from 'vitest';

/** Everything that a manifest can say, from names that are chosen freely. */
interface Node {
  readonly kind: 'file' | 'symlink' | 'other' | 'directory';
  readonly name: string;
  readonly mode: number;
  readonly size: number;
  readonly mtimeUs: number;
  readonly sha256: Uint8Array | undefined;
  readonly inside: readonly Node[];
}

const name = fc
  .uint8Array({ minLength: 1, maxLength: 12 })
  .map((bytes) => `n${Buffer.from(bytes).toString('latin1')}`.replaceAll(/[/\0]/g, '-'));
const { tree } = fc.letrec<{ tree: readonly Node[]; node: Node }>((tie) => ({
  tree: fc
    .uniqueArray(tie('node'), { selector: (node) => node.name, maxLength: 6 })
    .map((nodes) => nodes.toSorted((a, b) => (a.name < b.name ? -1 : 1))),
  node: fc.record({
    kind: fc.constantFrom('file', 'symlink', 'other', 'directory'),
    name,
    mode: fc.integer({ min: 0, max: 0o777 }),
    size: fc.integer({ min: 0, max: treeLimits.maxFileBytes }),
    mtimeUs: fc.integer({ min: 0, max: 9e15 }),
    sha256: fc.option(fc.uint8Array({ minLength: 32, maxLength: 32 }), { nil: undefined }),
    inside: fc.oneof({ depthSize: 'small' }, fc.constant([]), tie('tree')),
  }),
}));

function entriesOf(nodes: readonly Node[], folder = ''): Entry[] {
  return nodes.flatMap(({ kind: type, name, mode, size, mtimeUs, sha256, inside }) => {
    const path = folder === '' ? name : `${folder}/${name}`;
    const file = type === 'file';
    const entry: Entry = {
      path,
      type,
      mode: type === 'other' ? 0 : mode,
      size: file ? size : 0,
      mtimeUs: file ? mtimeUs : 0,
      ...(type === 'symlink' && { target: name }),
      ...(file && sha256 && { sha256 }),
    };
    return [entry, ...(type === 'directory' ? entriesOf(inside, path) : [])];
  });
}

function encoded(entries: readonly Entry[]): Buffer {
  const encoder = new ManifestEncoder();
  return Buffer.concat([encoder.encode(entries), encoder.end()]);
}

function parsed(pieces: readonly Uint8Array[]): Entry[] {
  const parser = new ManifestParser();
  const entries = pieces.flatMap((piece) => parser.push(piece));
  parser.end();
  return entries;
}

test('a manifest says the same wherever its bytes are cut', () => {
  fc.assert(
    fc.property(tree, fc.integer({ min: 1, max: 40 }), (nodes, step) => {
      const entries = entriesOf(nodes);
      const bytes = encoded(entries);
      const pieces = Array.from({ length: Math.ceil(bytes.byteLength / step) }, (_, i) =>
        bytes.subarray(i * step, (i + 1) * step),
      );
      expect(parsed(pieces)).toEqual(entries);
      expect(() => parsed([bytes.subarray(0, -1)])).toThrow('cannot be read');
    }),
    { numRuns: 60 },
  );
});

test('what is no manifest is refused by one of three codes, whatever its bytes are', () => {
  const seed = encoded(entriesOf([]));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const parser = new ManifestParser();
      try {
        parser.push(seed.subarray(0, 1));
        for (const { path } of parser.push(bytes)) expect(path).not.toMatch(/^\/|(?:^|\/)\.{1,2}(?:\/|$)|\0/);
      } catch (error) {
        expect(error).toMatchObject({
          code: expect.stringMatching(/^(?:sync_path|sync_limit|protocol_error)$/),
        });
      }
    }),
    { numRuns: 300 },
  );
});

const file = (path: string): Entry => ({ path, type: 'file', mode: 0o644, size: 1, mtimeUs: 1 });

test.each([
  ['a name that climbs', [file('..')]],
  ['a name that is the folder itself', [file('.')]],
  ['an empty name', [file('')]],
  ['a NUL in a name', [file('a\0b')]],
  ['what git keeps', [file('.git')]],
  ['what a Mac takes for it', [file('.Gi\u00e2\u0080\u008ct')]],
  ['what Windows takes for it', [file('GIT~1')]],
  ['names of ours for half-written files', [file('.cr-sync-x')]],
  ['a name that comes twice', [file('a'), file('a')]],
  ['names out of order', [file('b'), file('a')]],
])('[rows 94, 95] a manifest with %s is refused as sync_path', (_, entries) => {
  expect(() => parsed([encoded(entries)])).toThrow(expect.objectContaining({ code: 'sync_path' }));
});

test('[row 94] a slash in a name is refused: no record has a path', () => {
  const bytes = encoded([file('a-b')]);
  bytes[bytes.indexOf('-')] = '/'.charCodeAt(0);
  expect(() => parsed([bytes])).toThrow(expect.objectContaining({ code: 'sync_path' }));
});

test('[row 94] leaving more folders than were entered is refused', () => {
  const bytes = encoded([file('a')]);
  bytes[1] = (bytes[1] ?? 0) | 0x10;
  expect(() => parsed([bytes])).toThrow(expect.objectContaining({ code: 'sync_path' }));
});

test('[row 95] folders in folders end at a limit, before anything is made of them', () => {
  const deep = Array.from({ length: treeLimits.maxDepth + 1 }, (_, i): Entry => {
    return { path: 'd/'.repeat(i + 1).slice(0, -1), type: 'directory', mode: 0o755, size: 0, mtimeUs: 0 };
  });
  expect(() => parsed([encoded(deep)])).toThrow(expect.objectContaining({ code: 'sync_limit' }));
});

test('[row 95] names without end cost their parser the memory of one, until it says that they are too many', () => {
  const parser = new ManifestParser({ ...treeLimits, maxEntries: 200_000 });
  const encoder = new ManifestEncoder();
  const folder = (n: number): Entry[] => {
    const path = `d${String(n).padStart(6, '0')}`;
    const inside = Array.from({ length: 5000 }, (_, i) => file(`${path}/${String(i).padStart(5, '0')}`));
    return [{ path, type: 'directory', mode: 0o755, size: 0, mtimeUs: 0 }, ...inside];
  };
  let taken = 0;
  expect(() => {
    for (;;) taken += parser.push(encoder.encode(folder(taken))).length;
  }).toThrow(expect.objectContaining({ code: 'sync_limit' }));
  expect(taken).toBeGreaterThan(190_000);
});
