import { expect, test } from 'vitest';
import { looksLikeRepositoryUrl, readRepositoryUrl } from '../src/wire/index.ts';

test.each([
  ['https://github.com/someone/app.git', 'https'],
  ['HTTPS://example.org:8443/app', 'https'],
  ['https://me@example.org/app', 'https'],
  ['ssh://git@example.org:2222/srv/app.git', 'ssh'],
  ['ssh://git@[2001:db8::1]/srv/app.git', 'ssh'],
  ['git@github.com:someone/app.git', 'ssh'],
  ['example.org:app', 'ssh'],
  ['[::1]:app', 'ssh'],
  ['git://example.org/app', 'git'],
  ['file:///srv/app.git', 'file'],
])('%s may be fetched', (url, scheme) => {
  expect([looksLikeRepositoryUrl(url), readRepositoryUrl(url)]).toEqual([true, { scheme }]);
});

test.each([
  'ext::sh -c touch% x',
  'ext::sh',
  'file::/srv/app',
  'fd::17',
  'http://example.org/app',
  'ftp://example.org/app',
  'transport::https://example.org/app',
  'ssh://-oProxyCommand=touch%20x/app',
  'ssh://-oProxyCommand=x@example.org/app',
  'ssh://git@-oProxyCommand=x/app',
  '-oProxyCommand=x:app',
  'git@-oProxyCommand=x:app',
  '-u@example.org:app',
  'example.org:-app',
  'example.org:--upload-pack=x',
  '--upload-pack=touch x',
  'https://me:secret@example.org/app',
  'https://example.org',
  'https:///app',
  'https://example.org:99999/app',
  'https://example.org/a b',
  'https://example.org/a\nb',
  'https://exa\0mple.org/a',
  'file://host/srv/app',
  'file://',
  `https://example.org/${'a'.repeat(3000)}`,
  '',
  ':',
  'host:',
])('%j is refused, with the reason [row 89]', (url) => {
  expect(readRepositoryUrl(url)).toEqual({ refused: expect.stringMatching(/\w/) });
});

test.each(['.', '../app', '/srv/app', 'app', 'a/b:c', './ext::x'])('%s is a path', (path) => {
  expect(looksLikeRepositoryUrl(path)).toBe(false);
});
