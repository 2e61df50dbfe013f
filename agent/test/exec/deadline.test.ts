import type { Clock } from '@codex-remote/protocol/wire';
import { describe, expect, it } from 'vitest';
import { Deadline } from '../../src/exec/deadline.ts';

/** A machine whose time is told: awake its timers run, asleep only its uptime does. */
function machine() {
  let uptime = 1_000_000;
  let awake = 0;
  const timers = new Set<{ at: number; run: () => void }>();
  const clock: Clock = {
    monotonic: () => awake,
    wall: () => {
      throw new Error('a deadline does not look at the wall clock');
    },
    setTimer(ms, run) {
      const timer = { at: awake + ms, run };
      timers.add(timer);
      return { cancel: () => timers.delete(timer) };
    },
  };
  return {
    clock,
    timers,
    uptimeMs: () => uptime,
    run(ms: number) {
      for (let step = 0; step < ms; step += 100) {
        uptime += 100;
        awake += 100;
        for (const timer of [...timers]) {
          if (timer.at > awake) continue;
          timers.delete(timer);
          timer.run();
        }
      }
    },
    sleep(ms: number) {
      uptime += ms;
    },
  };
}

describe('a deadline', () => {
  it('comes when the uptime has reached it, once, whatever the wall clock says', () => {
    const on = machine();
    let reached = 0;
    new Deadline(on.clock, on.uptimeMs, on.uptimeMs() + 3_600_000, () => reached++);
    on.run(3_599_900);
    expect(reached).toBe(0);
    on.run(200);
    expect([reached, on.timers.size]).toEqual([1, 0]);
  });

  it('that passed while the machine slept comes within 30 s of its waking', () => {
    const on = machine();
    let reached = 0;
    new Deadline(on.clock, on.uptimeMs, on.uptimeMs() + 3_600_000, () => reached++);
    on.run(50_000);
    on.sleep(8 * 3_600_000);
    on.run(30_000);
    expect(reached).toBe(1);
  });

  it('that passed while no agent ran comes at the next turn', () => {
    const on = machine();
    let reached = 0;
    new Deadline(on.clock, on.uptimeMs, on.uptimeMs() - 1, () => reached++);
    expect(reached).toBe(0);
    on.run(100);
    expect(reached).toBe(1);
  });

  it('that was cancelled never comes and leaves no timer', () => {
    const on = machine();
    const deadline = new Deadline(on.clock, on.uptimeMs, on.uptimeMs() + 1_000, () => expect.unreachable());
    deadline.cancel();
    on.run(5_000);
    expect(on.timers.size).toBe(0);
  });
});
