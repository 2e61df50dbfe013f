import { readdir, readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Failpoint } from '@codex-remote/platform';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FailpointLab } from './support/failpoint-lab.ts';

/** `machine up` is cut short where it writes or starts something; the next one makes all of it whole. */
let lab: FailpointLab;
beforeAll(async () => {
  lab = await FailpointLab.open();
  // Makes the controller's own key, so that only the agent's is left to make.
  await lab.cli.json(['controller', 'start']);
});
afterAll(() => lab?.close());

/** Processes that run as the agent of this user's machine. */
async function agents(): Promise<number[]> {
  const found: number[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const words = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
    if (words.includes('\0daemon\0') && words.includes(lab.cli.home) && !words.startsWith('/bin/sh'))
      found.push(Number(pid));
  }
  return found;
}

/** With what `machine up` fails; undefined where the controller dies, and another goes on or is asked again. */
test.each<[Failpoint, code: string | undefined]>([
  ['controller.upload.before', undefined],
  ['controller.upload.after', undefined],
  ['controller.registry.before', undefined],
  ['controller.registry.after', undefined],
  ['agent.config.before', 'bootstrap_failed'],
  ['agent.config.after', 'bootstrap_failed'],
  ['key.before', 'bootstrap_failed'],
  ['key.after', 'bootstrap_failed'],
  ['agent.daemon_spawn.before', 'bootstrap_failed'],
  ['agent.daemon_spawn.after', 'bootstrap_failed'],
  ['agent.digest_key.before', 'agent_start_failed'],
  ['agent.digest_key.after', 'agent_start_failed'],
  ['agent.daemon_state.before', 'agent_start_failed'],
  ['agent.daemon_state.after', 'agent_start_failed'],
])('killed at %s, the next machine up has one agent that works [row 38]', async (point, code) => {
  const pid = await lab.restartController(point);
  const { stdout } = await lab.cli.run(['machine', 'up', 'local']);
  const first = JSON.parse(stdout.toString()) as Record<string, unknown>;
  if (code === undefined) await lab.controllerDied(point, pid);
  else expect(first).toMatchObject({ ok: false, error: { code } });
  await lab.restartController();
  expect(await lab.cli.json(['machine', 'up', 'local'])).toMatchObject({ ok: true });
  const lines = await lab.cli.lines(['exec', 'run', '-m', 'local', '--cmd', 'exit 7'], 7);
  expect(lines.at(-1)).toMatchObject({ status: 'finished', exit_code: 7 });
  expect(await agents()).toEqual([(await lab.agentProcess()).pid]);
  // The next one begins with a home that is not there; to bring the programs again takes long.
  const { home, bundle } = await lab.installation();
  await lab.cli.json(['machine', 'down', 'local']);
  await rm(home, { recursive: true });
  if (point.startsWith('controller.upload')) await rm(dirname(dirname(bundle)), { recursive: true });
});
