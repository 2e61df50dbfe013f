import {
  type Entry,
  Filter,
  IgnoreFiles,
  ManifestEncoder,
  ManifestParser,
  nameFault,
  targetFault,
} from '@codex-remote/platform/tree';
import { bytesOf, check, refusedOr, type Target, textOf } from '../target.ts';

const names: readonly Entry[] = [
  { path: 'a', type: 'file', mode: 0o644, size: 5, mtimeUs: 1.7e15 },
  { path: 'd', type: 'directory', mode: 0o755, size: 0, mtimeUs: 0 },
  { path: 'd', type: 'rules', mode: 0, size: 0, mtimeUs: 0, rules: { text: '*.log\n', prefix: 'sub' } },
  { path: 'd/b', type: 'file', mode: 0o600, size: 2 ** 40, mtimeUs: 5, sha256: new Uint8Array(32) },
  { path: 'd/l', type: 'symlink', mode: 0o777, size: 0, mtimeUs: 0, target: '../a' },
  { path: 'e', type: 'directory', mode: 0o700, size: 0, mtimeUs: 0 },
  { path: 'e/f', type: 'directory', mode: 0o700, size: 0, mtimeUs: 0 },
  { path: 'pipe', type: 'other', mode: 0, size: 0, mtimeUs: 0 },
];

function manifest(entries: readonly Entry[]): Uint8Array {
  const encoder = new ManifestEncoder();
  return Buffer.concat([encoder.encode(entries), encoder.end()]);
}

/** A manifest: names in order, none twice, each in a folder that was told, and what is written of it reads as the same. */
export const manifestTarget: Target = {
  name: 'manifest',
  weight: 8,
  tokens: ['..', '/', '\0', '.git', '.cr-sync', '\x07', '\x0b'],
  seeds: () => [names, names.slice(0, 1), []].map(manifest),
  run(bytes) {
    const parser = new ManifestParser();
    const cut = bytes.byteLength >> 1;
    const entries: Entry[] = [];
    const whole = refusedOr(() => {
      entries.push(...parser.push(bytes.subarray(0, cut)));
      entries.push(...parser.push(bytes.subarray(cut)));
      parser.end();
      return true;
    });
    const folders = new Set(['']);
    const seen = new Set<string>();
    for (const { path, type } of entries) {
      if (type === 'rules') {
        check(folders.has(path), `rules of ${JSON.stringify(path)}, which was not told`);
        continue;
      }
      const at = path.lastIndexOf('/');
      check(folders.has(path.slice(0, Math.max(at, 0))), `${JSON.stringify(path)} lies in no folder`);
      check(nameFault(path.slice(at + 1)) === undefined, `${JSON.stringify(path)} is no name`);
      check(!seen.has(path), `${JSON.stringify(path)} comes twice`);
      seen.add(path);
      if (type === 'directory') folders.add(path);
    }
    const again = new ManifestParser().push(manifest(entries));
    check(
      JSON.stringify(again) === JSON.stringify(entries),
      'it reads as something else when it is written again',
    );
    return whole === true;
  },
};

/** Patterns of others, beside names of others: an answer, in bounded time. */
export const ignoreTarget: Target = {
  name: 'ignore',
  weight: 2,
  tokens: ['**/', '!', '[a-', ']', '\\', '*', '?', '#', ' ', '[!', '[[:alpha:]]'],
  seeds: () => ['*.log\n!a.log\n/build/\n', 'a/**/b\n\\!x\n[a-z]?\n', '# no\n\ndir/ \n'].map(bytesOf),
  run(bytes) {
    const text = textOf(bytes);
    const files = new IgnoreFiles();
    files.add('', { text, prefix: 'above' });
    files.add('d', { text, prefix: '' });
    const rules = text.split('\n').filter((pattern) => pattern !== '');
    const filter = new Filter(
      rules.map((pattern, at) => ({ kind: at % 2 === 0 ? 'exclude' : 'include', pattern })),
    );
    for (const path of ['a', 'd/a.log', 'd/build/x', 'd/-x']) {
      files.ignores(path, false);
      filter.verdict(path, true);
      filter.reaches(path);
    }
    return rules.length > 0;
  },
};

/** A link that is taken stays in the tree, wherever it lies. */
export const linkTarget: Target = {
  name: 'link',
  weight: 1,
  tokens: ['..', '../', '/', '.', '\0', '.git'],
  seeds: () => ['../x', 'a/b', './c', '../../d/e'].map(bytesOf),
  run(bytes) {
    const target = Buffer.from(bytes).toString('latin1');
    if (targetFault('d/e/l', target) !== undefined) return false;
    let depth = 2;
    for (const name of target.split('/')) {
      if (name === '..') depth -= 1;
      else if (name !== '' && name !== '.') depth += 1;
      check(depth >= 0, `${JSON.stringify(target)} leaves the tree`);
    }
    return true;
  },
};
