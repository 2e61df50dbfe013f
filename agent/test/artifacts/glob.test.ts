import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Place, parseGlobs } from '../../src/artifacts/glob.ts';

/** Which globs name the path. */
function named(globs: readonly string[], path: string, literals?: string[]): readonly number[] {
  let place: Place | undefined = parseGlobs(globs, literals);
  let found: readonly number[] = [];
  for (const name of path.split('/')) {
    if (!place || (place.names && !place.names.includes(name))) return [];
    const step = place.step(name);
    [place, found] = [step.below, step.named];
  }
  return [...new Set(found)];
}

describe('a glob', () => {
  it.each([
    ['report.md', 'report.md', true],
    ['report.md', 'out/report.md', false],
    ['./report.md', 'report.md', true],
    ['*.md', 'report.md', true],
    ['*.md', 'out/report.md', false],
    ['*', '.env', false],
    ['.*', '.env', true],
    ['[.]env', '.env', false],
    ['out/*.md', 'out/a.md', true],
    ['*/*.md', '.git/a.md', false],
    ['**/*.md', 'a.md', true],
    ['**/*.md', 'x/y/a.md', true],
    ['**/*.md', 'x/.y/a.md', false],
    ['**/.y/*.md', 'x/.y/a.md', true],
    ['out/**', 'out/a/b', true],
    ['out/**', 'out', false],
    ['**/**/a', 'x/y/a', true],
    ['.', 'x/a', true],
    ['a?c', 'abc', true],
    ['a?c', 'a/c', false],
    ['a?c', 'a😀c', true],
    ['[a-c]x', 'bx', true],
    ['[!a-c]x', 'bx', false],
    ['[]]x', ']x', true],
    ['[a', '[a', true],
    ['a\\*', 'a*', true],
    ['a\\*', 'ab', false],
    ['{a,b/{c,d}}.md', 'b/d.md', true],
    ['{a,b/{c,d}}.md', 'b/a.md', false],
    ['{a}', '{a}', true],
    ['{a', '{a', true],
    ['*a*b*c', 'xaxbxc', true],
    ['*a*b*c', 'xaxbx', false],
    ['caf\u00e9', 'cafe\u0301', true],
  ])('%s and %s: %s', (glob, path, wanted) => {
    expect(named([glob], path)).toEqual(wanted ? [0] : []);
  });

  it('that is a path as it is names this path and no other', () => {
    const part = fc.string({ minLength: 1, maxLength: 6 }).filter((name) => !/^\.{1,2}$|[/\0]/.test(name));
    const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
    fc.assert(
      fc.property(path, path, (one, other) => {
        const same = one.normalize('NFC') === other.normalize('NFC');
        expect(named([], one, [one])).toEqual([0]);
        expect(named([], other, [one])).toEqual(same ? [0] : []);
      }),
    );
  });

  it('tells which of many it is, and looks nothing up that is named', () => {
    const globs = ['out/a', 'out/b', 'x*'];
    expect(named(globs, 'out/b')).toEqual([1]);
    expect(parseGlobs(globs).names).toBeUndefined();
    expect(parseGlobs(['out/a', 'out/b', 'c']).names).toEqual(['out', 'c']);
  });

  it('takes no time that grows with the number of ways to match', () => {
    const deep = Array.from({ length: 60 }, () => 'a').join('/');
    expect(named([`${'**/a/'.repeat(30)}b`], deep)).toEqual([]);
    expect(named([`${'*a'.repeat(100)}b`], 'a'.repeat(255))).toEqual([]);
  });

  it('whose braces come to too many is refused', () => {
    expect(() => parseGlobs(['{a,b}'.repeat(40)])).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});
