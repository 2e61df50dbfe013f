import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '@codex-remote/protocol/wire';
import { streamId } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { TimeSampler } from '../../src/logs/time-sampler.ts';
import { TimeSamples } from '../../src/logs/time-samples.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'times-'));
  writeFileSync(join(dir, 'stdout'), '');
});
afterEach(() => rmSync(dir, { recursive: true }));

/** Time that a test moves. */
class TestClock implements Clock {
  now = 1_000;
  timers: { at: number; run: () => void }[] = [];
  monotonic(): number {
    return this.now;
  }
  wall(): number {
    return this.now;
  }
  setTimer(ms: number, run: () => void) {
    const timer = { at: this.now + ms, run };
    this.timers.push(timer);
    return {
      cancel: () => {
        this.timers = this.timers.filter((other) => other !== timer);
      },
    };
  }
  advance(ms: number): void {
    this.now += ms;
    const due = this.timers.filter((timer) => timer.at <= this.now);
    this.timers = this.timers.filter((timer) => timer.at > this.now);
    for (const timer of due) timer.run();
  }
}

function samples(): number[][] {
  const reader = new TimeSamples(dir, streamId.stdout);
  const found: number[][] = [];
  for (let sample = reader.next(); sample; sample = reader.next())
    found.push([sample.offset, sample.epochMs]);
  reader.close();
  return found;
}

it('samples at once, then at most every 100 ms, the last growth included', () => {
  const clock = new TestClock();
  const sampler = new TimeSampler(dir, clock);
  for (let i = 0; i < 5; i++) {
    appendFileSync(join(dir, 'stdout'), 'x');
    sampler.touch('stdout');
    clock.advance(30);
  }
  expect(samples()).toEqual([
    [1, 1_000],
    [4, 1_120],
  ]);
  sampler.close();
  expect(samples()).toEqual([
    [1, 1_000],
    [4, 1_120],
    [5, 1_150],
  ]);
  expect(clock.timers).toEqual([]);
});

it('a torn sample at the end is read once it is whole', () => {
  const reader = new TimeSamples(dir, streamId.stdout);
  const clock = new TestClock();
  const sampler = new TimeSampler(dir, clock);
  appendFileSync(join(dir, 'stdout'), 'x');
  sampler.touch('stdout');
  appendFileSync(join(dir, 'times'), Buffer.alloc(7));
  expect(reader.next()).toMatchObject({ offset: 1 });
  expect(reader.next()).toBeUndefined();
  reader.close();
  sampler.close();
});
