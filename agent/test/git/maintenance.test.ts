import { readdirSync, utimesSync } from 'node:fs';
import { systemClock } from '@codex-remote/platform';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { maintain } from '../../src/git/maintenance.ts';
import { ProjectLab } from '../support/project-lab.ts';
import { waitFor } from '../support/wait-for.ts';

let lab: ProjectLab;
beforeEach(() => {
  lab = new ProjectLab();
});
afterEach(() => lab.close());

const packs = () =>
  readdirSync(lab.at('git/site/mirror.git/objects/pack')).filter((name) => name.endsWith('.pack')).length;
const work = () =>
  maintain(lab.store.git.projects.mirror('site', 'sha1'), systemClock, new AbortController().signal);
const has = async (want: readonly string[]) =>
  (await lab.store.git.projects.have({ project: 'site', want: [...want] })).has;

test('packfiles do not pile up: when there are many they are made few, and nothing of them is lost', async () => {
  const commits: string[] = [];
  for (let i = 0; i < 45; i++)
    commits.push(lab.repository.commit({ f: `${i}`, [`g${i}`]: `${i}`.repeat(i) }));
  // Each alone, as after a change; the refs of the first are given up on the way.
  for (const [i, commit] of commits.entries()) await lab.sendOnly(commit, commits.slice(0, i));
  await waitFor('fewer packfiles', () => packs() < 10);
  expect(await has(commits)).toEqual(commits);
});

test('once a week what nothing leads to any more goes; what an exec runs at and what is new stays', async () => {
  const held = await lab.commit({ f: '1' });
  const { state } = await lab.start('sleep 60', { worktree: lab.repository.spec(held) });
  lab.repository.git('checkout', '-q', '--orphan', 'other');
  const lost = await lab.commit({ f: '2' });
  const mirror = lab.at('git/site/mirror.git');
  const refs = lab.repository.git(
    '--git-dir',
    mirror,
    'for-each-ref',
    '--format=delete %(refname)',
    'refs/codex-remote/received',
  );
  await lab.store.git.projects.mirror('site', 'sha1').updateRefs(refs.split('\n'));
  await work();
  expect(await has([held, lost])).toEqual([held, lost]);
  const past = Date.now() / 1000 - 30 * 24 * 3600;
  utimesSync(`${mirror}/codex-remote-gc`, past, past);
  for (const name of readdirSync(`${mirror}/objects/pack`))
    utimesSync(`${mirror}/objects/pack/${name}`, past, past);
  await work();
  // Out of packfiles first, and away the next time.
  utimesSync(`${mirror}/codex-remote-gc`, past, past);
  await work();
  expect(await has([held, lost])).toEqual([held]);
  await lab.store.cancel(state.exec_id, 'KILL', 0);
});
