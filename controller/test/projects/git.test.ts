import type { VerbParams } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { maxReplayBytes, RequestBody } from '../../src/execs/request-body.ts';
import { Git } from '../../src/projects/git.ts';
import { execsWorld } from '../execs/machine-stand-in.ts';

const commit = 'a'.repeat(40);
const place = { machine: 'box', connectWaitMs: 10_000, signal: new AbortController().signal };
const pack: VerbParams<'git.receive'> = { project: 'app', commit, object_format: 'sha1', shallow: [] };
const received = { commit, tree: 'b'.repeat(40) };

async function* bytes(count: number): AsyncGenerator<Uint8Array> {
  for (let left = count; left > 0; left -= 65_536) yield new Uint8Array(Math.min(left, 65_536));
}

let world: ReturnType<typeof execsWorld>;
let git: Git;
beforeEach(() => {
  world = execsWorld(['box']);
  git = new Git(world);
});
afterEach(() => world.close());

const requests: readonly (readonly [string, () => Promise<unknown>])[] = [
  ['have', () => git.have(place, { project: 'app', want: [commit] })],
  ['receive', () => git.receive(place, pack, new RequestBody(bytes(10)))],
  ['fetch', () => git.fetch(place, { project: 'app', url: 'https://example.org/app', ref: 'main' })],
  ['remove', () => git.remove(place, { project: 'app' })],
];

describe.each(requests)('%s', (_verb, ask) => {
  test('is not asked of an agent that knows no git: agent_outdated, and nothing was sent', async () => {
    world.connect('box', () => received, ['files']);
    await expect(ask()).rejects.toMatchObject({
      code: 'agent_outdated',
      details: { machine: 'box', facts: { missing: 'git' } },
    });
  });

  test.each(['read-only', 'allow'] as const)(
    'is refused by the policy %s before anything else',
    async (mode) => {
      const box = world.registry.get('box');
      if (box) box.policy = { mode };
      await expect(ask()).rejects.toMatchObject({
        code: 'policy_refused',
        details: { machine: 'box', sent: 'no' },
      });
    },
  );
});

test('a pack that is small is sent again by itself when the connection breaks, and received once', async () => {
  let asked = 0;
  const connect = (): void => {
    const cut = world.connect('box', () => {
      asked += 1;
      if (asked > 1) return received;
      cut();
      connect();
      return undefined;
    }, ['git']);
  };
  connect();
  expect(await git.receive(place, pack, new RequestBody(bytes(1000)))).toEqual(received);
  expect(asked).toBe(2);
});

test('one that was not kept is connection_reset, for who has it to send it again', async () => {
  const cut = world.connect(
    'box',
    async (channel) => {
      let got = 0;
      for await (const item of channel) {
        got += item.kind === 'data' ? item.bytes.byteLength : 0;
        if (got > maxReplayBytes + 65_536) cut();
      }
      return received;
    },
    ['git'],
  );
  const failure = await git
    .receive(place, pack, new RequestBody(bytes(3 * maxReplayBytes)))
    .catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(RemoteError);
  expect(failure).toMatchObject({ code: 'connection_reset', details: { machine: 'box', sent: 'no' } });
});
