import { randomInt } from 'node:crypto';
import { afterAll, expect, test } from 'vitest';
import { runTarget } from './run.ts';
import { targets } from './targets/all.ts';
import { removeFolder } from './targets/disk.ts';

/** A short run with a seed of its own each time; `npm run fuzz` is the long one. A failure names its seed. */
const seed = randomInt(2 ** 31);
const runs = 30_000;
const weights = targets.reduce((sum, { weight }) => sum + weight, 0);

afterAll(removeFolder);

test.each(targets)(
  '$name: a value or a typed error, in bounded time and memory [row 73] [row 74]',
  async (target) => {
    const ran = await runTarget(target, Math.ceil((runs * target.weight) / weights), seed);
    // What the code itself writes is read: the seeds have not gone stale.
    expect(ran.values).toBeGreaterThanOrEqual(target.seeds().length);
  },
);
