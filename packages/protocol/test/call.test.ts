import { describe, expect, test } from 'vitest';
import { call, RemoteError } from '../src/wire/index.ts';
import { settle } from './support/fake-clock.ts';
import { smallLimits } from './support/limits.ts';
import { pattern, readAll, twoSessions } from './support/two-sessions.ts';

async function* pieces(count: number, onReturn: () => void = () => {}): AsyncGenerator<Uint8Array> {
  try {
    for (let index = 0; index < count; index++) yield pattern(index * 1000, 1000);
  } finally {
    onReturn();
  }
}

describe('call', () => {
  test('one request, one reply, nothing left', async () => {
    const { controller, agent } = twoSessions(async (channel, verb, params) => {
      await channel.send({ verb, params });
      channel.end();
    });
    expect(await call(controller, 'agent.info', { a: 1 })).toEqual({ verb: 'agent.info', params: { a: 1 } });
    await settle();
    expect(controller.openChannels + agent.openChannels).toBe(0);
  });

  test('a body of any size goes before the reply', async () => {
    const { controller } = twoSessions(async (channel) => {
      const body = await readAll(channel);
      await channel.send({ exact: Buffer.compare(body, pattern(0, 300_000)) === 0 });
      channel.end();
    }, smallLimits);
    expect(await call(controller, 'upload', {}, { body: pieces(300) })).toEqual({ exact: true });
  });

  test('the peer refuses in the middle of the body: the caller gets its error, the body is closed', async () => {
    let closed = false;
    const { controller, agent } = twoSessions(async (channel) => {
      await channel.receive();
      throw new RemoteError('too_large', 'enough');
    }, smallLimits);
    const calling = call(controller, 'upload', {}, { body: pieces(1000, () => (closed = true)) });
    await expect(calling).rejects.toMatchObject({ code: 'too_large' });
    await settle();
    expect(closed).toBe(true);
    expect(controller.openChannels + agent.openChannels).toBe(0);
  });

  test('the peer replies before the end of the body: the caller gets the reply, the rest is not sent', async () => {
    let closed = false;
    const { controller, agent } = twoSessions(async (channel) => {
      await channel.send('attached');
      channel.end();
    }, smallLimits);
    const reply = await call(controller, 'upload', {}, { body: pieces(1000, () => (closed = true)) });
    expect(reply).toBe('attached');
    await settle();
    expect(closed).toBe(true);
    expect(controller.openChannels + agent.openChannels).toBe(0);
  });

  test('a body that fails is what the caller hears, and the peer hears that too', async () => {
    const heard: string[] = [];
    const { controller } = twoSessions(async (channel) => {
      await readAll(channel).catch((error: unknown) => heard.push(RemoteError.from(error).code));
    });
    const body = (async function* () {
      yield Uint8Array.of(1);
      throw new RemoteError('disk_low', 'the spool is gone');
    })();
    await expect(call(controller, 'upload', {}, { body })).rejects.toMatchObject({ code: 'disk_low' });
    await settle();
    expect(heard).toEqual(['disk_low']);
  });

  test.each([
    ['ends without a reply', 'stream_cut'],
    ['answers with bytes', 'protocol_error'],
    ['does not know the verb', 'unknown_verb'],
  ])('a peer that %s: %s', async (how, expected) => {
    const { controller, agent } = twoSessions(async (channel) => {
      if (how === 'answers with bytes') {
        await channel.write(Uint8Array.of(1));
        await channel.closed;
      }
      if (how === 'does not know the verb') throw new RemoteError('unknown_verb', 'what');
      channel.end();
    });
    await expect(call(controller, 'x', {})).rejects.toMatchObject({ code: expected });
    await settle();
    expect(controller.openChannels + agent.openChannels).toBe(0);
    expect(controller.ended).toBe(undefined);
  });

  test('an abort withdraws the request, before and while it runs', async () => {
    const heard: string[] = [];
    const { controller } = twoSessions(async (channel) => {
      await channel.closed;
      heard.push(await channel.receive().then(String, (error: unknown) => RemoteError.from(error).code));
    });
    const abort = new AbortController();
    const calling = call(controller, 'x', {}, { signal: abort.signal });
    await settle();
    abort.abort();
    await expect(calling).rejects.toMatchObject({ code: 'cancelled' });
    await expect(call(controller, 'x', {}, { signal: abort.signal })).rejects.toMatchObject({
      code: 'cancelled',
    });
    await settle();
    // Our END had been received: its side of the stream was complete.
    expect(heard).toEqual(['undefined']);
    expect(controller.openChannels).toBe(0);
  });

  test('when the connection breaks, the error says whether the request may have been sent', async () => {
    const { controller, controllerEnd } = twoSessions(() => {});
    const sent = call(controller, 'x', {});
    await settle();
    controllerEnd.bufferedBytes = () => 1e9;
    const unsent = call(controller, 'x', {});
    controllerEnd.gone();
    await expect(sent).rejects.toMatchObject({ code: 'connection_reset', details: { sent: 'unknown' } });
    await expect(unsent).rejects.toMatchObject({ code: 'connection_reset', details: { sent: 'no' } });
    await expect(call(controller, 'x', {})).rejects.toMatchObject({
      code: 'connection_reset',
      details: { sent: 'no' },
    });
  });
});
