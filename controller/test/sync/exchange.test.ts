import { setImmediate as turn } from 'node:timers/promises';
import { type Channel, frameHeaderBytes, RemoteError, type Session } from '@codex-remote/protocol/wire';
import { expect, test } from 'vitest';
import { exchange } from '../../src/sync/exchange.ts';

const params = {
  path: Buffer.from('/x'),
  ignore: false,
  delete: false,
  checksum: false,
  dry_run: false,
  verbose: false,
};

/** A session whose channel does what `channel` says, and hears nothing until it is reset. */
function sessionOf(writeFrame: Channel['writeFrame']) {
  const reset = Promise.withResolvers<never>();
  reset.promise.catch(() => undefined);
  const channel = {
    verb: 'sync.push',
    writeFrame,
    end: () => undefined,
    reset: (error: RemoteError) => reset.reject(error),
    receive: () => reset.promise,
  };
  return { open: () => channel as unknown as Channel, ended: undefined } as unknown as Session;
}

/** Small pieces, each a turn of the loop behind the other. */
async function* dripping(pulled: { count: number }): AsyncGenerator<Uint8Array, void, void> {
  for (; pulled.count < 1000; pulled.count++) {
    await turn();
    await turn();
    yield Buffer.from('piece');
  }
}

test('pieces that fill no frame wait for the machine to take them', async () => {
  const pulled = { count: 0 };
  const gone = new AbortController();
  const over = exchange(
    sessionOf(() => new Promise(() => undefined)),
    'sync.push',
    params,
    {
      body: dripping(pulled),
      write: async () => undefined,
      signal: gone.signal,
    },
  );
  for (let i = 0; i < 50; i++) await turn();
  expect(pulled.count).toBeLessThan(3);
  gone.abort();
  await expect(over).rejects.toMatchObject({ code: 'cancelled' });
});

test('what ended the channel ends the reading of the caller', async () => {
  const pulled = { count: 0 };
  const over = exchange(
    sessionOf(() => Promise.reject(new RemoteError('disk_low', 'it is full'))),
    'sync.push',
    params,
    { body: dripping(pulled), write: async () => undefined, signal: new AbortController().signal },
  );
  await expect(over).rejects.toMatchObject({ code: 'cancelled' });
  expect(pulled.count).toBeLessThan(3);
});

test('a piece goes out in the turn in which nothing follows it', async () => {
  const frames: Uint8Array[] = [];
  const gone = new AbortController();
  const body = (async function* () {
    yield Buffer.from('one');
    yield Buffer.from('two');
    await new Promise((resolve) => gone.signal.addEventListener('abort', resolve));
  })();
  const over = exchange(
    sessionOf(async (frame) => void frames.push(frame)),
    'sync.push',
    params,
    { body, write: async () => undefined, signal: gone.signal },
  );
  await expect
    .poll(() => frames.map((frame) => Buffer.from(frame.subarray(frameHeaderBytes)).toString()))
    .toEqual(['onetwo']);
  gone.abort();
  await expect(over).rejects.toMatchObject({ code: 'cancelled' });
});
