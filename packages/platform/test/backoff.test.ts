import { expect, test } from 'vitest';
import { Backoff, systemClock } from '../src/index.ts';

test('peers that lost the same controller spread over the whole of each wait, which doubles up to its limit [row 59]', async () => {
  const waits = async (random: number, rounds: number): Promise<number[]> => {
    const asked: number[] = [];
    const clock = {
      ...systemClock,
      setTimer: (ms: number, run: () => void) => {
        asked.push(ms);
        queueMicrotask(run);
        return { cancel: () => undefined };
      },
    };
    const backoff = new Backoff({ clock, random: () => random, firstMs: 200, maxMs: 15_000 });
    for (let round = 0; round < rounds; round++) await backoff.wait(new AbortController().signal);
    backoff.reset();
    await backoff.wait(new AbortController().signal);
    return asked;
  };
  expect(await waits(0, 3)).toEqual([0, 0, 0, 0]);
  expect(await waits(0.5, 9)).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 7500, 7500, 100]);
});
