import { systemClock } from '@codex-remote/platform';
import { afterEach, expect, test } from 'vitest';
import { runCanary } from '../../src/machines/canary.ts';
import { execsWorld, finished } from '../execs/machine-stand-in.ts';

const world = execsWorld(['box']);
afterEach(() => world.close());

test('a machine that leaves its connection for another under the test command is asked again', async () => {
  const { execs, changes } = world;
  const asked: string[] = [];
  const cut = world.connect('box', (_channel, verb) => {
    asked.push(verb);
    cut();
    setTimeout(() =>
      world.connect('box', (_next, again, params) => {
        asked.push(again);
        return { state: finished((params as { exec_id: string }).exec_id), attached: false };
      }),
    );
  });
  const canary = { execs, changes, clock: systemClock, machine: 'box', signal: new AbortController().signal };
  await runCanary({ ...canary, connectWaitMs: 5_000 });
  expect(asked).toEqual(['exec.start', 'exec.start']);
});
