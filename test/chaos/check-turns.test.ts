import { expect, test } from 'vitest';
import { checkTurns, type Turn } from './check-turns.ts';

const first: Turn = { story: 'j1', machine: 'local', startedAt: 1, endedAt: 2, sentMs: 10, acceptedMs: 20 };
const second: Turn = { story: 'j2', machine: 'local', startedAt: 2, endedAt: 3, sentMs: 30, acceptedMs: 40 };
const rules = (...turns: Turn[]) => checkTurns(turns).map(({ rule, story }) => `${rule} ${story}`);

test('one after the other in the order of their acceptance is right', () => {
  expect(rules(first, second)).toEqual([]);
});

test('two at once are found, but for two machines or where the end of the first is not known', () => {
  const early = { ...second, startedAt: 1.5 };
  expect(rules(first, early)).toEqual(['one_at_a_time j2']);
  expect(rules(first, { ...early, machine: 'bridge' })).toEqual([]);
  const { endedAt: _, ...endless } = first;
  expect(rules(endless, early)).toEqual([]);
});

test('who was sent later and started first has jumped the queue, but not where both were sent at once', () => {
  const jumped = { ...second, startedAt: 0.1, endedAt: 0.9 };
  expect(rules(first, jumped)).toEqual(['order_is_kept j2']);
  expect(rules(first, { ...jumped, sentMs: 15 })).toEqual([]);
});
