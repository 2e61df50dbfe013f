import { expect, test } from 'vitest';
import { machineNames, makePlan } from './plan.ts';

test('the same seed makes the same plan, another seed another one', () => {
  expect(makePlan(7, 2)).toEqual(makePlan(7, 2));
  expect(makePlan(8, 2)).not.toEqual(makePlan(7, 2));
});

test('a plan of some minutes meets every shape of job, every step and every fault', () => {
  const { stories, faults } = makePlan(1, 10);
  const kinds = (list: readonly { kind: string }[]) => [...new Set(list.map(({ kind }) => kind))].sort();
  expect(kinds(stories.map(({ shape }) => shape))).toEqual(
    'background binary echo missing polite quick sleep stubborn suicide text ticks'.split(' '),
  );
  expect(kinds(stories.flatMap(({ steps }) => steps))).toEqual(
    'altered cancel follow follow_raw kill_shim list read_json result run start wait watch'.split(' '),
  );
  expect(kinds(stories.flatMap(({ steps }) => steps.map(({ caller }) => caller)))).toEqual(
    'interrupted killed stays stopped unread'.split(' '),
  );
  expect(kinds(faults.map(({ fault }) => fault))).toEqual(
    'blackhole bring_up check drop_sessions kill_agent kill_controller reset restart_controller stop_agent stop_controller take_down'.split(
      ' ',
    ),
  );
  expect(new Set(stories.map(({ machine }) => machine))).toEqual(new Set(machineNames));
});

test('everything of a plan lies within its time, and every job has an id and a start of its own', () => {
  for (let seed = 0; seed < 50; seed++) {
    const { stories, faults, durationMs } = makePlan(seed, 0.5);
    expect(durationMs).toBe(30_000);
    for (const { atMs } of faults) expect(atMs).toBeLessThan(durationMs);
    for (const { atMs, steps } of stories) {
      for (const { afterMs } of steps) expect(atMs + afterMs).toBeLessThan(durationMs);
      expect(steps.some(({ kind, afterMs }) => (kind === 'run' || kind === 'start') && afterMs === 0)).toBe(
        true,
      );
    }
    expect(new Set(stories.map(({ id }) => id)).size).toBe(stories.length);
  }
});
