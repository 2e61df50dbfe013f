import { describe, expect, test } from 'vitest';
import { ChannelLife } from '../src/wire/channel.ts';
import {
  type Channel,
  defaultWireLimits,
  frameHeaderBytes,
  type Incoming,
  RemoteError,
  Session,
  type Transport,
  type TransportHandlers,
} from '../src/wire/index.ts';
import { FakeClock, settle } from './support/fake-clock.ts';
import { smallLimits } from './support/limits.ts';
import { pattern, readAll, twoSessions } from './support/two-sessions.ts';

const failure = new RemoteError('disk_low', 'no room');

function code(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'resolved',
    (error: unknown) => RemoteError.from(error).code,
  );
}

/** Agent side that only keeps its channels. */
function keeper(): { channels: Channel[]; accept: (channel: Channel) => void } {
  const channels: Channel[] = [];
  return { channels, accept: (channel) => void channels.push(channel) };
}

describe('session', () => {
  test('messages and bytes of both sides arrive in order, and END closes the channel on both', async () => {
    const { agent, controller } = twoSessions(async (channel, verb, params) => {
      await channel.send({ verb, params });
      for await (const item of channel) {
        if (item.kind === 'message') await channel.send(item.value);
        else await channel.write(item.bytes);
      }
      channel.end();
    });
    const channel = controller.open('echo', { n: 1 });
    await channel.send({ a: 1 });
    await channel.write(Uint8Array.of(1, 2, 3));
    await channel.send({ b: 2 });
    channel.end();
    const items: Incoming[] = [];
    for await (const item of channel) items.push(item);
    expect(items).toEqual([
      { kind: 'message', value: { verb: 'echo', params: { n: 1 } } },
      { kind: 'message', value: { a: 1 } },
      { kind: 'data', bytes: Uint8Array.of(1, 2, 3) },
      { kind: 'message', value: { b: 2 } },
    ]);
    await channel.closed;
    expect(channel.state).toBe('closed');
    expect(controller.openChannels + agent.openChannels).toBe(0);
  });

  test('bytes written in any size arrive exactly, cut at the frame size', async () => {
    const sizes = [1, 511, 504, 505, 100_000, 3, 12_345];
    const total = sizes.reduce((sum, size) => sum + size, 0);
    const { controller } = twoSessions(async (channel) => {
      let at = 0;
      for (const size of sizes) {
        await channel.write(pattern(at, size));
        at += size;
      }
      channel.end();
    }, smallLimits);
    const channel = controller.open('read', {});
    channel.end();
    expect(Buffer.compare(await readAll(channel), pattern(0, total))).toBe(0);
  });

  test('a frame that its writer laid out goes as it is', async () => {
    const { controller } = twoSessions(async (channel) => {
      const frame = new Uint8Array(frameHeaderBytes + 5);
      frame.set(pattern(0, 5), frameHeaderBytes);
      await channel.writeFrame(frame);
      expect(await code(channel.writeFrame(new Uint8Array(frameHeaderBytes)))).toBe('internal');
      expect(await code(channel.writeFrame(new Uint8Array(64 * 1024 + 1)))).toBe('internal');
      channel.end();
    });
    const channel = controller.open('read', {});
    channel.end();
    expect(await readAll(channel)).toEqual(pattern(0, 5));
  });

  test('write resolves only when the reader has taken enough, and a reset by the reader ends the wait', async () => {
    const { channels, accept } = keeper();
    const { controller } = twoSessions(accept, smallLimits);
    const reader = controller.open('read', {});
    await settle();
    const writer = channels[0] as Channel;
    let written = false;
    const writing = writer.write(new Uint8Array(3 * smallLimits.initialWindowBytes)).then(() => {
      written = true;
    });
    await settle();
    expect(written).toBe(false);
    await reader.receive();
    await settle();
    expect(written).toBe(false);
    reader.reset(failure);
    expect(await code(writing)).toBe('disk_low');
    expect(await code(writer.receive())).toBe('disk_low');
    expect(await code(writer.write(new Uint8Array(1)))).toBe('disk_low');
    expect(writer.state).toBe('reset');
    await writer.closed;
  });

  test('credit of a channel that is reset is not lost to others, however often', async () => {
    const { controller, agent } = twoSessions(async (channel, verb) => {
      await channel.write(pattern(0, verb === 'last' ? 50_000 : 10_000));
      channel.end();
    }, smallLimits);
    for (let round = 0; round < 200; round++) {
      const channel = controller.open('read', {});
      if (round % 2 === 0) await channel.receive();
      channel.reset(failure);
    }
    const channel = controller.open('last', {});
    channel.end();
    expect(await readAll(channel)).toEqual(pattern(0, 50_000));
    await settle();
    expect(controller.openChannels + agent.openChannels).toBe(0);
    expect(controller.ended).toBe(undefined);
  });

  test('a reader that stops on one channel stalls no other channel, no MESSAGE and no PING [row 57]', async () => {
    const { controller, clock } = twoSessions(async (channel, verb) => {
      if (verb === 'call') await channel.send('reply');
      else await channel.write(pattern(0, 200_000));
      channel.end();
    });
    const stuck = Array.from({ length: 20 }, () => controller.open('read', {}));
    const fast = controller.open('read', {});
    fast.end();
    expect(await readAll(fast)).toEqual(pattern(0, 200_000));
    expect(await controller.open('call', {}).receive()).toEqual({ kind: 'message', value: 'reply' });
    await clock.advance(60_000);
    expect(controller.ended).toBe(undefined);
    for (const channel of stuck) channel.reset(failure);
  });

  test('a MESSAGE and its END pass while DATA waits for acknowledgement', async () => {
    const { controller, agentEnd } = twoSessions(
      async (channel, verb) => {
        if (verb === 'call') await channel.send('reply');
        else await channel.write(new Uint8Array(100_000));
        channel.end();
      },
      { ...smallLimits, initialWindowBytes: 16 * 1024 },
    );
    // Data fills the session-wide limit while the path delivers nothing.
    agentEnd.paused = true;
    const sent: number[] = [];
    const send = agentEnd.send.bind(agentEnd);
    agentEnd.send = (frame) => {
      sent.push(frame[0] ?? 0);
      send(frame);
    };
    agentEnd.bufferedBytes = () => 0;
    const reader = controller.open('read', {});
    await settle();
    const before = sent.length;
    expect(before).toBeLessThan(15);
    const called = controller.open('call', {});
    await settle();
    expect(sent.slice(before)).toEqual([2, 5]);
    agentEnd.resume();
    expect(await called.receive()).toEqual({ kind: 'message', value: 'reply' });
    reader.reset(failure);
  });

  test('channels take turns: of two writers none waits for all of the other', async () => {
    const { controller } = twoSessions(
      async (channel, verb) => {
        await channel.write(pattern(0, verb === 'long' ? 150_000 : 5_000));
        channel.end();
      },
      { ...smallLimits, initialWindowBytes: 16 * 1024 },
    );
    const long = controller.open('long', {});
    const short = controller.open('short', {});
    let longDone = false;
    const reading = readAll(long).then(() => {
      longDone = true;
    });
    await readAll(short);
    expect(longDone).toBe(false);
    await reading;
  });

  test('a flood of messages and a flood of bytes share the socket frame by frame', async () => {
    const { channels, accept } = keeper();
    const { agentEnd, controller, controllerEnd } = twoSessions(accept, {
      ...smallLimits,
      initialWindowBytes: 16 * 1024,
    });
    controller.open('messages', {});
    controller.open('bytes', {});
    await settle();
    let buffered = smallLimits.maxSocketBufferBytes;
    agentEnd.bufferedBytes = () => buffered;
    void channels[1]?.write(new Uint8Array(3000));
    for (let count = 0; count < 8; count++) void channels[0]?.send({ count });
    const kinds: (number | undefined)[] = [];
    const receive = controllerEnd.receive.bind(controllerEnd);
    controllerEnd.receive = (frame) => {
      kinds.push(frame[0]);
      receive(frame);
    };
    buffered = 0;
    channels[0]?.end();
    await settle();
    expect(kinds.slice(0, 10)).toEqual([2, 3, 2, 3, 2, 3, 2, 3, 2, 3]);
    expect(kinds.slice(10)).toEqual([2, 3, 2, 2, 5]);
  });

  test('windows grow for readers that keep up, and give that back for the next channels', async () => {
    const { controller } = twoSessions(async (channel) => {
      await channel.write(new Uint8Array(100_000));
      channel.end();
    }, smallLimits);
    for (let round = 0; round < 10; round++) {
      const channel = controller.open('read', {});
      if (!(channel instanceof ChannelLife)) throw new Error('not a channel of ours');
      channel.end();
      let largest = 0;
      for await (const _ of channel) largest = Math.max(largest, channel.receiveCredit);
      expect(largest, `round ${round}`).toBeGreaterThan(4 * smallLimits.initialWindowBytes);
    }
  });

  test('what waits for the socket stays in the writer, and control goes before it', async () => {
    const { channels, accept } = keeper();
    const { agentEnd, controller, controllerEnd } = twoSessions(accept, {
      ...smallLimits,
      initialWindowBytes: 16 * 1024,
    });
    const order: number[] = [];
    agentEnd.paused = true;
    controller.open('read', {});
    await settle();
    void channels[0]?.write(new Uint8Array(10_000));
    expect(agentEnd.bufferedBytes()).toBeLessThanOrEqual(
      smallLimits.maxSocketBufferBytes + smallLimits.maxFrameBytes,
    );
    const receive = controllerEnd.receive.bind(controllerEnd);
    controllerEnd.receive = (frame) => {
      order.push(frame[0] ?? 0);
      receive(frame);
    };
    controller.open('other', {});
    await settle();
    channels[1]?.reset(failure);
    const inSocket = Math.ceil(agentEnd.bufferedBytes() / smallLimits.maxFrameBytes);
    agentEnd.resume();
    await settle();
    expect(order.slice(inSocket, inSocket + 3)).toEqual([6, 3, 3]);
  });

  test('the first cause is kept, everyone who waits gets it, and no timer is left', async () => {
    const { channels, accept } = keeper();
    const { agent, controller, clock } = twoSessions(accept);
    const channel = controller.open('wait', {});
    const waiting = channel.receive();
    await settle();
    const served = channels[0]?.receive();
    controller.end(new RemoteError('session_replaced', 'a newer one'));
    controller.end(failure);
    expect(await code(waiting)).toBe('session_replaced');
    expect((await controller.closed).code).toBe('session_replaced');
    expect((await agent.closed).code).toBe('session_replaced');
    expect(await code(served ?? Promise.resolve())).toBe('session_replaced');
    expect((await agent.closed).details.facts).toEqual({ reported_by: 'peer' });
    expect(() => controller.open('more', {})).toThrow(expect.objectContaining({ code: 'session_replaced' }));
    expect(await code(channel.send({}))).toBe('session_replaced');
    await channel.closed;
    expect(clock.pending).toBe(0);
  });

  test('both sides end at once: each keeps its own cause', async () => {
    const { agent, controller, clock, agentEnd, controllerEnd } = twoSessions(() => {});
    agent.end(new RemoteError('shutting_down', 'agent stops'));
    controller.end(new RemoteError('session_replaced', 'newer'));
    await settle();
    expect((await agent.closed).code).toBe('shutting_down');
    expect((await controller.closed).code).toBe('session_replaced');
    expect(agentEnd.closedWith).toEqual({ code: 1001, reason: 'shutting_down' });
    expect(controllerEnd.closedWith).toEqual({ code: 4408, reason: 'session_replaced' });
    expect(clock.pending).toBe(0);
  });

  test('a connection that breaks is connection_reset, with the words that agents look for', async () => {
    const { controller, controllerEnd } = twoSessions(() => {});
    const receiving = controller.open('wait', {}).receive();
    controllerEnd.gone();
    const cause = await controller.closed;
    expect(cause.code).toBe('connection_reset');
    expect(cause.message).toContain('connection reset by peer');
    expect(await code(receiving)).toBe('connection_reset');
  });

  test('what a peer completed before the session ended can still be taken; what it did not complete is dropped', async () => {
    const { channels, accept } = keeper();
    const { controller } = twoSessions(accept);
    const complete = controller.open('complete', {});
    const incomplete = controller.open('incomplete', {});
    await settle();
    for (const channel of channels) await channel.send('reply');
    channels[0]?.end();
    await settle();
    controller.end(failure);
    expect(await complete.receive()).toEqual({ kind: 'message', value: 'reply' });
    expect(await complete.receive()).toBe(undefined);
    expect(await code(incomplete.receive())).toBe('disk_low');
  });

  test('after a reset of our own nothing is left to take, though the peer had ended', async () => {
    const { controller } = twoSessions(async (channel) => {
      await channel.send('reply');
      channel.end();
    });
    const channel = controller.open('call', {});
    await settle();
    expect(channel.state).toBe('got_end');
    channel.reset(failure);
    expect(await code(channel.receive())).toBe('disk_low');
  });

  test('a reset before OPEN has gone out leaves the peer in peace', async () => {
    const { channels, accept } = keeper();
    const { controller, controllerEnd } = twoSessions(accept);
    controllerEnd.bufferedBytes = () => defaultWireLimits.maxSocketBufferBytes;
    const withdrawn = controller.open('withdrawn', {});
    expect(withdrawn.opened).toBe(false);
    withdrawn.reset(failure);
    controllerEnd.bufferedBytes = () => 0;
    const kept = controller.open('kept', {});
    await settle();
    expect(channels.map((channel) => [channel.id, channel.verb])).toEqual([[kept.id, 'kept']]);
    expect(controller.ended).toBe(undefined);
  });

  test('what accept throws or rejects with resets its channel only', async () => {
    const { controller } = twoSessions((_channel, verb) => {
      if (verb === 'throws') throw failure;
      if (verb === 'rejects') return Promise.reject(new TypeError('a defect'));
      return undefined;
    });
    expect(await code(controller.open('throws', {}).receive())).toBe('disk_low');
    expect(await code(controller.open('rejects', {}).receive())).toBe('internal');
    expect(controller.ended).toBe(undefined);
  });

  test('a side without accept answers nothing: unknown_verb', async () => {
    const { agent } = twoSessions(() => {});
    const channel = agent.open('hello', {});
    expect(channel.id).toBe(2);
    expect(await code(channel.receive())).toBe('unknown_verb');
  });

  test('ids of both sides grow apart and are given once', async () => {
    const { controller, agent } = twoSessions(() => {});
    expect([controller.open('a', {}).id, controller.open('a', {}).id]).toEqual([1, 3]);
    expect([agent.open('a', {}).id, agent.open('a', {}).id]).toEqual([2, 4]);
  });

  test('one more channel than allowed is refused here, before anything is sent; an ended one makes room', async () => {
    const { controller } = twoSessions(() => {}, smallLimits);
    const channels = Array.from({ length: smallLimits.maxChannels }, () => controller.open('a', {}));
    expect(() => controller.open('a', {})).toThrow(expect.objectContaining({ code: 'too_many_channels' }));
    channels[3]?.reset(failure);
    controller.open('a', {});
    await settle();
    expect(controller.ended).toBe(undefined);
  });

  test('misuse is told to the caller: write after end, two receivers, a message too large', async () => {
    const { controller } = twoSessions(() => {});
    const channel = controller.open('a', {});
    expect(await code(channel.send(new Uint8Array(70_000)))).toBe('too_large');
    expect(() => controller.open('a', new Uint8Array(20_000))).toThrow(
      expect.objectContaining({ code: 'too_large' }),
    );
    channel.end();
    channel.end();
    expect(await code(channel.write(Uint8Array.of(1)))).toBe('internal');
    expect(await code(channel.send(1))).toBe('internal');
    const first = channel.receive();
    expect(await code(channel.receive())).toBe('internal');
    channel.reset(failure);
    expect(await code(first)).toBe('disk_low');
  });

  test('frames that came before attach are handled after the constructor, so accept can use the session', async () => {
    const clock = new FakeClock();
    const handlers: TransportHandlers[] = [];
    const first = twoSessions(() => {});
    const frames: Uint8Array[] = [];
    first.controllerEnd.send = (frame) => void frames.push(frame);
    first.controller.open('early', { x: 1 });
    const transport: Transport = {
      send() {},
      bufferedBytes: () => 0,
      close() {},
      destroy() {},
      attach(given) {
        handlers.push(given);
        for (const frame of frames) given.frame(frame);
      },
    };
    const seen: string[] = [];
    const session: Session = new Session({
      transport,
      side: 'agent',
      clock,
      accept: (_channel, verb) => void seen.push(`${verb} ${session.openChannels}`),
    });
    expect(seen).toEqual([]);
    await settle();
    expect(seen).toEqual(['early 1']);
  });

  test('limits that could deadlock are refused when the session is made', () => {
    const limits = { ...defaultWireLimits, initialWindowBytes: 64 * 1024 };
    expect(() => twoSessions(() => {}, limits)).toThrow(/initialWindowBytes/);
  });
});
