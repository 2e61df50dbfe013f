import { defineConfig } from 'vitest/config';

/** How long a test may take, and how long it may wait for a condition: what a machine much slower than ours needs, ms. */
const testTimeout = 120_000;
const poll = { timeout: 30_000 };

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'packages/*/test/**/*.test.ts',
            'agent/test/**/*.test.ts',
            'controller/test/**/*.test.ts',
            'test/src/**/*.test.ts',
            'test/chaos/**/*.test.ts',
            'test/fuzz/**/*.test.ts',
          ],
          testTimeout,
          hookTimeout: testTimeout,
          expect: { poll },
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout,
          hookTimeout: testTimeout,
          expect: { poll },
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'faults',
          include: ['test/faults/**/*.test.ts'],
          testTimeout,
          hookTimeout: testTimeout,
          expect: { poll },
          maxWorkers: 2,
        },
      },
    ],
  },
});
