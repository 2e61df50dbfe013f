import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { defaultWireLimits, type WireLimits } from '../src/wire/index.ts';
import { GrowthPool, ReceiveWindow, SendWindow } from '../src/wire/window.ts';
import { smallLimits } from './support/limits.ts';

const largestFrame = (limits: WireLimits): number => limits.maxFrameBytes - 8;

describe('window', () => {
  test('credit is conserved, never negative, and no sender that is read from waits for ever', () => {
    const step = fc.record({
      do: fc.constantFrom('send', 'take', 'deliver_credit', 'tick'),
      bytes: fc.integer({ min: 1, max: largestFrame(smallLimits) }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), fc.option(fc.nat(50)), (steps, roundTripMs) => {
        const pool = new GrowthPool(smallLimits.maxWindowGrowthBytes);
        const sender = new SendWindow(smallLimits);
        const receiver = new ReceiveWindow(smallLimits, pool, 0);
        const waiting: number[] = [];
        let creditUnderWay = 0;
        let takenNotGiven = 0;
        let now = 0;
        const check = (): void => {
          expect(sender.credit).toBeGreaterThanOrEqual(0);
          expect(sender.credit + creditUnderWay).toBe(receiver.available);
          const owed = waiting.reduce((sum, bytes) => sum + bytes, 0) + takenNotGiven;
          expect(receiver.available).toBe(receiver.size - owed);
          expect(receiver.size).toBeLessThanOrEqual(smallLimits.maxWindowBytes);
          expect(pool.left).toBe(
            smallLimits.maxWindowGrowthBytes - (receiver.size - smallLimits.initialWindowBytes),
          );
        };
        const take = (): void => {
          const bytes = waiting.shift();
          if (bytes === undefined) return;
          const sizeBefore = receiver.size;
          const credit = receiver.take(bytes, now, roundTripMs ?? undefined);
          creditUnderWay += credit;
          takenNotGiven += bytes - (credit - (receiver.size - sizeBefore));
          // All that was taken goes back, or nothing.
          if (credit > 0) expect(takenNotGiven).toBe(0);
        };
        for (const { do: what, bytes } of steps) {
          if (what === 'send' && bytes <= sender.credit) {
            sender.spend(bytes);
            receiver.receive(bytes);
            waiting.push(bytes);
          } else if (what === 'take') take();
          else if (what === 'deliver_credit' && creditUnderWay > 0) {
            sender.grant(creditUnderWay);
            creditUnderWay = 0;
          } else if (what === 'tick') now += bytes;
          check();
        }
        while (waiting.length > 0) take();
        if (creditUnderWay > 0) sender.grant(creditUnderWay);
        creditUnderWay = 0;
        check();
        expect(sender.credit).toBeGreaterThanOrEqual(largestFrame(smallLimits));
        receiver.release();
        receiver.release();
        expect(pool.left).toBe(smallLimits.maxWindowGrowthBytes);
      }),
      { numRuns: 500 },
    );
  });

  test('a frame over the credit and a grant of nothing or too much break a rule [row 61]', () => {
    const receiver = new ReceiveWindow(smallLimits, new GrowthPool(0), 0);
    receiver.receive(smallLimits.initialWindowBytes);
    expect(() => receiver.receive(1)).toThrow(expect.objectContaining({ code: 'protocol_error' }));
    const sender = new SendWindow(smallLimits);
    const room = smallLimits.maxWindowBytes - smallLimits.initialWindowBytes;
    for (const credit of [0, room + 1, 0xffff_ffff]) {
      expect(() => sender.grant(credit)).toThrow(expect.objectContaining({ code: 'protocol_error' }));
    }
    sender.grant(room);
    expect(sender.credit).toBe(smallLimits.maxWindowBytes);
  });

  test('a reader that keeps up lets the window grow to its limit; a slow one, or one without a round trip, does not', () => {
    const grown = (roundTripMs: number | undefined, msPerFrame: number): number => {
      const window = new ReceiveWindow(defaultWireLimits, new GrowthPool(64 * 1024 * 1024), 0);
      let now = 0;
      for (let frame = 0; frame < 2000; frame++) {
        now += msPerFrame;
        window.receive(largestFrame(defaultWireLimits));
        window.take(largestFrame(defaultWireLimits), now, roundTripMs);
      }
      return window.size;
    };
    expect(grown(50, 0.1)).toBe(defaultWireLimits.maxWindowBytes);
    expect(grown(50, 60)).toBe(defaultWireLimits.initialWindowBytes);
    expect(grown(undefined, 0.1)).toBe(defaultWireLimits.initialWindowBytes);
  });

  test('windows of one session share what they may grow by', () => {
    const pool = new GrowthPool(3000);
    const windows = [0, 1, 2].map(() => new ReceiveWindow(smallLimits, pool, 0));
    for (const window of windows) {
      for (let frame = 0; frame < 100; frame++) {
        window.receive(500);
        window.take(500, 0, 10);
      }
    }
    expect(windows.map((window) => window.size)).toEqual([2048 + 3000, 2048, 2048]);
    windows[0]?.release();
    expect(pool.left).toBe(3000);
  });
});
