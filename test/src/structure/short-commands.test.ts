import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const dist = join(resolve(import.meta.dirname, '../../..'), 'packages/cli/dist');

/**
 * A dynamic `import()` of a file of ours keeps the bundler from leaving out what nobody calls: everything that file can reach
 * came along once, msgpack too.
 */
test('what short commands are read from holds no msgpack, no zod, no HTTP and no TLS', () => {
  const text = readFileSync(join(dist, 'cli.cjs'), 'latin1');
  expect(text).not.toContain('msgpackr');
  expect(text).not.toContain('ZodError');
  expect([...text.matchAll(/require\("node:(?:https?|tls|zlib)"\)/g)].map(([found]) => found)).toEqual([]);
});
