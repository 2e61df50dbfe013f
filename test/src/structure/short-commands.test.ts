import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const dist = join(resolve(import.meta.dirname, '../../..'), 'packages/cli/dist');

/**
 * A dynamic `import()` of a file of ours keeps the bundler from leaving out what nobody calls: everything that file can reach
 * came along once, msgpack too.
 */
test('what short commands are read from holds no msgpack, no zod, no HTTP, no TLS, and loads no builtin that it can do without', () => {
  const text = readFileSync(join(dist, 'cli.cjs'), 'latin1');
  expect(text).not.toContain('msgpackr');
  expect(text).not.toContain('ZodError');
  const modules = (pattern: RegExp) => [...text.matchAll(pattern)].map(([found]) => found);
  expect(modules(/require\("node:(?:https?|tls|zlib)"\)/g)).toEqual([]);
  // Loaded at once: what waits for its use is no part of an assignment.
  expect(modules(/=(?:__toESM\()?require\("node:(?:crypto|child_process|fs\/promises)"\)/g)).toEqual([]);
});
