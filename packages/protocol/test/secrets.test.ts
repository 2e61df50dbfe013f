import fc from 'fast-check';
import { expect, test } from 'vitest';
import { masked, secretsOf } from '../src/wire/index.ts';

const plain = 'hunter2';

test.each([
  ...[
    'API_TOKEN',
    'GITHUB_TOKEN',
    'token',
    'DB_PASSWORD',
    'AWS_SECRET_ACCESS_KEY',
    'OPENAI_API_KEY',
    'SSH_KEY',
  ],
  ...[
    'PGPASSWORD',
    'MYSQL_PASS',
    'NPM_AUTH',
    'AUTHORIZATION',
    'SESSION_COOKIE',
    'GOOGLE_CREDENTIALS',
    'GH_PAT',
  ],
])('a value of %s is a secret [row 103]', (name) => {
  expect(secretsOf({ [name]: plain })).toEqual([plain]);
});

test.each([
  'PATH',
  'HOME',
  'PWD',
  'GIT_AUTHOR_NAME',
  'KEYBOARD',
  'MONKEY',
  'PATIENCE',
  'PASSED',
  'LANG',
  'SPIN',
])('a value of %s is none, and nothing common is masked [row 103]', (name) => {
  expect(secretsOf({ [name]: plain })).toEqual([]);
  expect(secretsOf({ [name]: '1', N_TOKEN: '1', A_KEY: 'true', B_SECRET: '' })).toEqual([]);
});

test('what looks like a key of some service is one under any name; a path, a word or a number is none', () => {
  expect(secretsOf({ X: 'sk-proj-0a1b2c3d4e5f6071' })).toEqual(['sk-proj-0a1b2c3d4e5f6071']);
  const none = { A: '/data/set-2026-01-01/x', B: 'a sentence of 5 words or so', C: '12345678901234567890' };
  expect(secretsOf({ ...none, D: 'https://host.example/path1' })).toEqual([]);
});

test('a secret is gone wherever it stands, one that holds another whole; what is encoded is not found [row 103]', () => {
  const env = { A_TOKEN: 'abcdef', B_TOKEN: 'xx-abcdef-yy' };
  expect(masked('x abcdef xx-abcdef-yy', secretsOf(env))).toBe('x *** ***');
  expect(masked('x $& abcdef', ['abcdef'])).toBe('x $& ***');
  const base64 = Buffer.from('abcdef').toString('base64');
  expect(masked(base64, secretsOf(env))).toBe(base64);
  fc.assert(
    fc.property(fc.string({ minLength: 6, unit: 'binary' }), fc.string(), fc.string(), (secret, a, b) => {
      fc.pre(!'***'.includes(secret) && !secret.includes('*'));
      expect(masked(`${a}${secret}${b}`, secretsOf({ A_TOKEN: secret })).includes(secret)).toBe(false);
    }),
  );
});
