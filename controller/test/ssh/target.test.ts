import { RemoteError } from '@codex-remote/protocol/wire';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseTarget, showTarget } from '../../src/ssh/target.ts';

describe('an ssh target', () => {
  it.each([
    ['box', { host: 'box' }],
    ['me@box', { user: 'me', host: 'box' }],
    ['me@box:2222', { user: 'me', host: 'box', port: 2222 }],
    ['me@corp.example@box', { user: 'me@corp.example', host: 'box' }],
    ['ssh://me@box:22/', { user: 'me', host: 'box', port: 22 }],
    ['[fe80::1%eth0]:22', { host: 'fe80::1%eth0', port: 22 }],
    ['::1', { host: '::1' }],
  ])('%s is read', (text, expected) => {
    expect(parseTarget(text)).toEqual(expected);
  });

  it.each([
    '-oProxyCommand=x',
    '-l@box',
    'box;id',
    'a b',
    '$(id)',
    '`id`',
    'me@',
    '@box',
    'box:0',
    'box:65536',
    'box:x',
    '',
    'me\n@box',
    "a'b",
    '%h',
  ])('%j is refused before ssh sees it', (text) => {
    expect(() => parseTarget(text)).toThrow(expect.objectContaining({ code: 'ssh_config_invalid' }));
  });

  it('never fails in another way, and what it reads it writes the same', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'ab1.-_@:[]%/ $;'), maxLength: 20 }), (text) => {
        try {
          const target = parseTarget(text);
          expect(target.host.startsWith('-')).toBe(false);
          expect(parseTarget(showTarget(target))).toEqual(target);
        } catch (error) {
          expect(error).toBeInstanceOf(RemoteError);
        }
      }),
    );
  });
});
