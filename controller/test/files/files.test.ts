import type { RemoteError } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RequestBody } from '../../src/execs/request-body.ts';
import { Files } from '../../src/files/files.ts';
import { execsWorld } from '../execs/machine-stand-in.ts';

const path = Buffer.from('f');
const place = { machine: 'box', connectWaitMs: 0, signal: new AbortController().signal };
const nobody = { write: async () => undefined, event: async () => undefined };
const order = { path, write_id: '0123456789abcdef', create_only: false, parents: false };

async function* nothing(): AsyncGenerator<Uint8Array> {}

let world: ReturnType<typeof execsWorld>;
let files: Files;
beforeEach(() => {
  world = execsWorld(['box']);
  files = new Files(world);
});
afterEach(() => world.close());

const requests: readonly (readonly [string, () => Promise<unknown>])[] = [
  ['stat', () => files.stat(place, path, false)],
  ['list', () => files.list(place, { path, limit: 1 }, nobody)],
  ['read', () => files.read(place, { path, from: 0 }, nobody)],
  ['write', () => files.write(place, order, new RequestBody(nothing()))],
  ['remove', () => files.remove(place, { path, recursive: false })],
  ['mkdir', () => files.mkdir(place, { path, parents: false })],
];

describe.each(requests)('%s', (_verb, ask) => {
  test('is not asked of an agent that does not know files: agent_outdated, and nothing was sent', async () => {
    let asked = 0;
    world.connect('box', () => {
      asked += 1;
      return undefined;
    }, ['queues']);
    const failure = await ask().catch((error: RemoteError) => error);
    expect(failure).toMatchObject({
      code: 'agent_outdated',
      details: {
        machine: 'box',
        sent: 'no',
        facts: { missing: 'files' },
        hint: expect.stringContaining('up'),
      },
    });
    expect(asked).toBe(0);
  });

  test('of a machine that is away is machine_offline', async () => {
    await expect(ask()).rejects.toMatchObject({
      code: 'machine_offline',
      details: { machine: 'box', sent: 'no' },
    });
  });
});

test.each(['read-only', 'allow'] as const)(
  'the policy %s lets nothing be changed, and is asked first',
  async (mode) => {
    const box = world.registry.get('box');
    if (box) box.policy = { mode };
    for (const [verb, ask] of requests) {
      const code = ['write', 'remove', 'mkdir'].includes(verb) ? 'policy_refused' : 'machine_offline';
      await expect(ask(), verb).rejects.toMatchObject({ code, details: { machine: 'box', sent: 'no' } });
    }
  },
);
