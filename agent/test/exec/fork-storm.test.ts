import { ProcessTable } from '@codex-remote/platform';
import type { Clock } from '@codex-remote/protocol/wire';
import { expect, it } from 'vitest';
import { endProcesses } from '../../src/exec/cancel.ts';

/** Each process leads a session of its own, and one that is killed while it runs has forked again just before. */
class Storm extends ProcessTable {
  readonly #stopped = new Map([[1_000, false]]);
  #next = 1_001;
  readonly #looked: () => void;

  constructor(looked: () => void = () => undefined) {
    super();
    this.#looked = looked;
  }

  override all() {
    this.#looked();
    return [...this.#stopped.keys()].map((pid) => this.#stat(pid));
  }
  override stat(pid: number) {
    return this.#stopped.has(pid) ? this.#stat(pid) : undefined;
  }
  override hasMark() {
    return true;
  }
  override isAlive({ pid }: { pid: number }) {
    return this.#stopped.has(pid);
  }

  readonly signal = (target: number, signal: NodeJS.Signals): void => {
    const pid = Math.abs(target);
    const wasStopped = this.#stopped.get(pid);
    if (signal === 'SIGSTOP') this.#stopped.set(pid, true);
    if (signal !== 'SIGKILL') return;
    this.#stopped.delete(pid);
    if (wasStopped === false) this.#stopped.set(this.#next++, false);
  };

  #stat(pid: number) {
    return { pid, start: pid, state: 'R', parent: 1, group: pid, session: pid };
  }
}

/** Time passes only by waiting, and by `pass`. */
function patientClock(): Clock & { pass(ms: number): void } {
  let now = 0;
  return {
    pass: (ms) => {
      now += ms;
    },
    monotonic: () => now,
    wall: () => now,
    setTimer(ms, run) {
      setImmediate(() => {
        now += Math.max(ms, 1);
        run();
      });
      return { cancel: () => undefined };
    },
  };
}

it('what forks whenever it is killed is stopped first: nothing is left [row 20]', async () => {
  const storm = new Storm();
  const left = await endProcesses(
    { job: { pid: 1_000, start: 1_000 }, markName: 'MARK', mark: 'm' },
    {
      table: storm,
      clock: patientClock(),
      kill: storm.signal,
      signal: () => 'KILL',
      killAt: () => 0,
      stopped: () => false,
    },
  );
  expect([left, storm.all()]).toEqual([[], []]);
});

it('a look that takes longer than what is killed is waited for does not make a leftover of what is new [row 20]', async () => {
  const clock = patientClock();
  const storm = new Storm(() => clock.pass(2_500));
  const left = await endProcesses(
    { job: { pid: 1_000, start: 1_000 }, markName: 'MARK', mark: 'm' },
    {
      table: storm,
      clock,
      kill: storm.signal,
      signal: () => 'KILL',
      killAt: () => 0,
      stopped: () => false,
    },
  );
  expect(left).toEqual([]);
  expect(storm.all()).toEqual([]);
});
