import { expect, test } from 'vitest';
import { type Aftermath, aftermathLimits, checkAftermath } from './aftermath.ts';

const clean: Aftermath = {
  peakRssBytes: { controller: 2 ** 20, agent: 2 ** 20 },
  quiet: [{ daemon: 'agent local', descriptors: 30, held: [] }],
  zombies: [],
  staged: [],
  processes: [],
  files: [],
  stuck: [],
};

test('a run that leaves nothing breaks no rule', () => {
  expect(checkAftermath(clean)).toEqual([]);
});

test.each<[string, Partial<Aftermath>]>([
  ['memory_is_bounded', { peakRssBytes: { controller: 2 ** 20, agent: 2 ** 30 } }],
  [
    'no_descriptor_leaks',
    { quiet: [{ daemon: 'agent local', descriptors: aftermathLimits.descriptors + 1, held: [] }] },
  ],
  [
    'no_descriptor_leaks',
    { quiet: [{ daemon: 'agent local', descriptors: 30, held: ['/x/execs/j1/stdout'] }] },
  ],
  ['no_zombie_is_left', { zombies: ['7 (parent 6)'] }],
  ['no_folder_is_left', { staged: ['local: staging has 9 entries'] }],
  ['no_process_is_left', { processes: ['7 sleep 3600'] }],
  ['no_folder_is_left', { files: ['tunnel: store is still there'] }],
  ['everything_comes_to_an_end', { stuck: ['local does not come up again'] }],
])('%s is broken by what is left', (rule, left) => {
  expect(checkAftermath({ ...clean, ...left }).map((found) => found.rule)).toEqual([rule]);
});
