import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const dist = join(resolve(import.meta.dirname, '../../..'), 'packages/cli/dist');

/**
 * A dynamic `import()` of a file of ours keeps the bundler from leaving out what nobody calls: everything that file can reach
 * came along once, msgpack too.
 */
test.each(['hot.cjs', 'cli.cjs'])(
  '%s holds no msgpack, no zod, no HTTP, no TLS, and loads no builtin that short commands can do without',
  (bundle) => {
    const text = readFileSync(join(dist, bundle), 'latin1');
    expect(text).not.toContain('msgpackr');
    expect(text).not.toContain('ZodError');
    const modules = (pattern: RegExp) => [...text.matchAll(pattern)].map(([found]) => found);
    expect(modules(/require\("node:(?:https?|tls|zlib)"\)/g)).toEqual([]);
    // Loaded at once: what waits for its use is no part of an assignment.
    const dear =
      /=(?:__toESM\()?require\("node:(?:crypto|child_process|fs\/promises|module|os|readline|tty)"\)/g;
    expect(modules(dear)).toEqual([]);
    // Its first use loads `node:perf_hooks`.
    expect(modules(/performance\./g)).toEqual([]);
  },
);
