import { describe, expect, test } from 'vitest';
import { defaultWireLimits as limits } from '../src/wire/index.ts';
import { Unacked } from '../src/wire/unacked.ts';

/** Sends as much as the limit lets go over a path of one rate and delay, for `totalMs`; gives what was measured. */
function overPath(
  bytesPerMs: number,
  roundTripMs: number,
  totalMs: number,
): { unacked: Unacked; queuedMs: number; acked: number } {
  const unacked = new Unacked(limits);
  const underWay: { total: number; at: number }[] = [];
  let sent = 0;
  let freeAt = 0;
  let acked = 0;
  let queuedMs = 0;
  for (let now = 0; now < totalMs; now += 0.25) {
    while (underWay[0] && underWay[0].at <= now) {
      acked = underWay[0].total;
      unacked.acked(acked, now);
      underWay.shift();
    }
    while (unacked.mayData) {
      const bytes = 65_528;
      sent += bytes;
      unacked.sent(bytes, now);
      freeAt = Math.max(freeAt, now) + bytes / bytesPerMs;
      underWay.push({ total: sent, at: freeAt + roundTripMs });
    }
    queuedMs = freeAt - now;
  }
  return { unacked, queuedMs, acked };
}

describe('unacknowledged bytes', () => {
  test('on a slow link the floor holds: half a megabyte, whatever the time', () => {
    const { unacked } = overPath(1000, 20, 20_000);
    expect(unacked.limit).toBe(limits.minUnackedBytes);
    expect(unacked.bytes).toBeLessThanOrEqual(limits.minUnackedBytes + 65_528);
  });

  test('on a long fast path the limit grows until the path is full', () => {
    const { unacked, acked } = overPath(100_000, 50, 3_000);
    expect(unacked.limit).toBeGreaterThan(5_000_000);
    expect(acked / 3_000).toBeGreaterThan(0.7 * 100_000);
  });

  test('what queues in the path stays near one round trip', () => {
    const { queuedMs } = overPath(100_000, 50, 10_000);
    expect(queuedMs).toBeLessThan(150);
  });

  test('an ACK that goes back or runs ahead breaks a rule; the same again does not', () => {
    const unacked = new Unacked(limits);
    unacked.sent(1000, 0);
    unacked.acked(600, 1);
    unacked.acked(600, 2);
    expect(() => unacked.acked(599, 3)).toThrow(expect.objectContaining({ code: 'protocol_error' }));
    expect(() => unacked.acked(1001, 3)).toThrow(expect.objectContaining({ code: 'protocol_error' }));
    expect(unacked.bytes).toBe(400);
  });

  test('a clock that stands still measures nothing and breaks nothing', () => {
    const unacked = new Unacked(limits);
    for (let total = 100_000; total < 5_000_000; total += 100_000) {
      unacked.sent(100_000, 7);
      unacked.acked(total, 7);
    }
    expect(unacked.limit).toBe(limits.minUnackedBytes);
  });
});
