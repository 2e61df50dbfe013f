import { describe, expect, test } from 'vitest';
import { defaultWireLimits as limits } from '../src/wire/index.ts';
import { settle } from './support/fake-clock.ts';
import { RawPeer } from './support/raw-peer.ts';
import { twoSessions } from './support/two-sessions.ts';

describe('watchdog', () => {
  test('two idle sessions keep each other alive, with a ping from one of them per heartbeat', async () => {
    const { clock, agent, controller, agentEnd, controllerEnd } = twoSessions(() => {});
    let frames = 0;
    for (const end of [agentEnd, controllerEnd]) {
      const send = end.send.bind(end);
      end.send = (frame) => {
        frames++;
        send(frame);
      };
    }
    await clock.advance(10 * 60_000);
    expect([agent.ended, controller.ended]).toEqual([undefined, undefined]);
    expect(frames).toBeLessThanOrEqual(2 * 2 * (600_000 / limits.heartbeatMs));
    expect(agent.roundTripMs ?? controller.roundTripMs).toBe(0);
    agent.end();
    await settle();
    expect(clock.pending).toBe(0);
  });

  test('a peer of which nothing comes is gone after two heartbeats, and the connection is dropped, not closed [row 49]', async () => {
    const peer = new RawPeer();
    const channel = await peer.open(1);
    await peer.clock.advance(limits.silenceMs - 1);
    expect(peer.session.ended).toBe(undefined);
    await peer.clock.advance(1);
    expect(peer.session.ended?.code).toBe('peer_silent');
    expect(peer.sessionEnd.closedWith).toBe('destroyed');
    await expect(channel.receive()).rejects.toMatchObject({ code: 'peer_silent' });
    expect(peer.of('ping')).toHaveLength(1);
    expect(peer.clock.pending).toBe(0);
  });

  test('a large frame that comes slowly is life: bytes count, not frames', async () => {
    const peer = new RawPeer();
    for (let second = 0; second < 120; second += 4) {
      await peer.clock.advance(4000);
      peer.sessionEnd.activitySeen();
    }
    expect(peer.session.ended).toBe(undefined);
    await peer.clock.advance(limits.silenceMs);
    expect(peer.session.ended?.code).toBe('peer_silent');
  });

  test('whether the peer answers: at once where it does, false after the time or with the session', async () => {
    const { clock, controller, agentEnd } = twoSessions(() => undefined);
    const there = controller.answers(1_000);
    await clock.advance(1);
    expect(await there).toBe(true);
    agentEnd.paused = true;
    const silent = controller.answers(1_000);
    await clock.advance(1_001);
    expect(await silent).toBe(false);
    const cut = controller.answers(1_000);
    controller.end();
    expect(await cut).toBe(false);
    expect(await controller.answers(1_000)).toBe(false);
  });

  test('queued bytes without progress end the session though pings are answered [row 58]', async () => {
    const peer = new RawPeer();
    let buffered = 100_000;
    peer.sessionEnd.bufferedBytes = () => buffered;
    peer.sessionEnd.send = (frame) => {
      buffered += frame.byteLength;
    };
    let ended = 0;
    for (let second = 1; second <= 60 && !peer.session.ended; second++) {
      await peer.clock.advance(1000);
      await peer.send({ kind: 'pong', nonce: 0n });
      ended = second;
    }
    expect(peer.session.ended?.code).toBe('peer_silent');
    expect(peer.session.ended?.details.facts).toMatchObject({ buffered_bytes: buffered });
    expect(ended * 1000).toBeGreaterThanOrEqual(limits.stalledMs);
    expect(ended * 1000).toBeLessThanOrEqual(limits.stalledMs + 2 * limits.heartbeatMs);
  });

  test('a socket that is always full and always moves is not stalled', async () => {
    const peer = new RawPeer();
    let buffered = 1_000_000;
    peer.sessionEnd.bufferedBytes = () => buffered;
    for (let second = 0; second < 120; second++) {
      buffered -= 100;
      await peer.clock.advance(1000);
      await peer.send({ kind: 'pong', nonce: 0n });
    }
    expect(peer.session.ended).toBe(undefined);
  });

  test('after this process was stopped the peer gets one heartbeat to be heard, not more', async () => {
    const heard = new RawPeer();
    heard.clock.jump(60_000);
    await heard.clock.advance(1);
    expect(heard.session.ended).toBe(undefined);
    await heard.send({ kind: 'ping', nonce: 1n });
    await heard.clock.advance(limits.heartbeatMs);
    expect(heard.session.ended).toBe(undefined);
    const silent = new RawPeer();
    silent.clock.jump(60_000);
    await silent.clock.advance(limits.heartbeatMs + 1);
    expect(silent.session.ended?.code).toBe('peer_silent');
  });
});
