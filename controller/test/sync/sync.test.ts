import { afterEach, beforeEach, expect, test } from 'vitest';
import { Sync } from '../../src/sync/sync.ts';
import { execsWorld } from '../execs/machine-stand-in.ts';

const signal = new AbortController().signal;
const place = { machine: 'box', connectWaitMs: 10_000, signal };
const params = {
  path: Buffer.from('/x'),
  ignore: false,
  delete: false,
  checksum: false,
  dry_run: false,
  verbose: false,
};

let world: ReturnType<typeof execsWorld>;
beforeEach(() => {
  world = execsWorld(['box']);
});
afterEach(() => world.close());

test('an agent that speaks the items of before is agent_outdated, and hears nothing', async () => {
  world.connect('box', () => ({}), ['files', 'sync']);
  const caller = { body: (async function* () {})(), write: async () => undefined, signal };
  await expect(new Sync(world).push(place, params, caller)).rejects.toMatchObject({
    code: 'agent_outdated',
    details: { machine: 'box', facts: { missing: 'sync2' } },
  });
});
