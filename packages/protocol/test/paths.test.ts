import { describe, expect, test } from 'vitest';
import { call, Session } from '../src/wire/index.ts';
import { FakeClock } from './support/fake-clock.ts';
import { Link } from './support/link.ts';

/** Agent and controller over a path of one delay and rate, with the limits of the product. */
function overPath(
  delayMs: number,
  bytesPerMs: number,
): { clock: FakeClock; controller: Session; agent: Session } {
  const clock = new FakeClock();
  const link = new Link(clock, { delayMs: () => delayMs, bytesPerMs });
  const bytes = new Uint8Array(256 * 1024);
  const agent = new Session({
    transport: link.a,
    side: 'agent',
    clock,
    accept: async (channel, verb) => {
      if (verb === 'flood') while (channel.state !== 'reset') await channel.write(bytes);
      await channel.send('reply');
      channel.end();
    },
  });
  const controller = new Session({ transport: link.b, side: 'controller', clock });
  return { clock, controller, agent };
}

/** Reads for ever and counts. */
function drain(session: Session): { bytes: number } {
  const count = { bytes: 0 };
  const channel = session.open('flood', {});
  void (async () => {
    for await (const item of channel) if (item.kind === 'data') count.bytes += item.bytes.byteLength;
  })().catch(() => {});
  return count;
}

describe('paths', () => {
  test('a long fast path is filled: 50 ms and 100 MB/s give more than half of that after two seconds', async () => {
    const { clock, controller } = overPath(25, 100_000);
    const count = drain(controller);
    await clock.advance(2000);
    const before = count.bytes;
    await clock.advance(1000);
    expect(count.bytes - before).toBeGreaterThan(50_000_000);
    controller.end();
    await clock.advance(1000);
    expect(clock.pending).toBe(0);
  });

  test('on a slow link full of logs a call is answered within a second, and the heartbeat holds', async () => {
    const { clock, controller, agent } = overPath(20, 1000);
    const counts = Array.from({ length: 30 }, () => drain(controller));
    await clock.advance(20_000);
    for (let round = 0; round < 5; round++) {
      const asked = clock.monotonic();
      let answeredAt: number | undefined;
      void call(controller, 'call', {}).then(() => {
        answeredAt = clock.monotonic();
      });
      await clock.until(() => answeredAt !== undefined, 10_000);
      expect((answeredAt ?? 0) - asked).toBeLessThan(1000);
      await clock.advance(777);
    }
    expect([controller.ended, agent.ended]).toEqual([undefined, undefined]);
    // The link is used, and by all alike.
    const total = counts.reduce((sum, count) => sum + count.bytes, 0);
    expect(total).toBeGreaterThan(0.9 * 1000 * 20_000);
    for (const count of counts) expect(count.bytes).toBeGreaterThan((0.5 * total) / counts.length);
    controller.end();
    await clock.advance(5000);
    expect(clock.pending).toBe(0);
  });
});
