import { readFile } from 'node:fs/promises';
import type { Failpoint } from '@codex-remote/platform';
import { freePort, PastedHome, waitFor } from '@codex-remote/test/lab';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FailpointLab } from './support/failpoint-lab.ts';

/** The controller is killed around the moment at which a join token is used up, while two agents come with it. */
describe('one line, pasted in two places at once', () => {
  let lab: FailpointLab;
  const homes: PastedHome[] = [];
  beforeEach(async () => {
    lab = await FailpointLab.open();
    const at = `127.0.0.1:${await freePort()}`;
    await lab.cli.json(['controller', 'start', '--listen', at, '--public-url', `https://${at}`]);
  });
  afterEach(async () => {
    for (const home of homes.splice(0)) await home.close();
    await lab?.close();
  });

  const keyOf = async (machine: string): Promise<string | undefined> => {
    const text = await readFile(lab.file('config/registry.json'), 'utf8');
    const { machines } = JSON.parse(text) as {
      machines: { name: string; installation?: { agent_key: string } }[];
    };
    return machines.find(({ name }) => name === machine)?.installation?.agent_key;
  };

  test.each<Failpoint>(['controller.join_token.before', 'controller.join_token.after'])(
    'and the controller killed at %s: one is in and stays in, the other and whoever comes later are not [row 77]',
    async (point) => {
      const pid = await lab.restartController(point);
      const { command } = await lab.cli.json(['machine', 'invite', 'box']);
      for (const name of ['one', 'two', 'later']) homes.push(await PastedHome.open(lab.file(name)));
      const [one, two, later] = homes as [PastedHome, PastedHome, PastedHome];
      const pasted = [one, two].map((home) => ({ home, first: home.paste(String(command)) }));
      const both = Promise.all(pasted.map(({ first }) => first));
      await lab.controllerDied(point, pid);
      const key = await keyOf('box');
      expect(key !== undefined).toBe(point === 'controller.join_token.after');
      await lab.restartController();
      await both;
      const answers: Record<string, unknown>[] = [];
      for (const { home, first } of pasted) {
        // One that the kill met while it downloaded says so on stderr alone: it is pasted again.
        const text = (await first).stdout || (await home.paste(String(command))).stdout;
        answers.push(JSON.parse(text) as Record<string, unknown>);
      }
      expect(answers.map(({ ok }) => ok).sort()).toEqual([false, true]);
      expect(answers.find(({ ok }) => !ok)).toMatchObject({ error: { code: 'unauthorized' } });
      const winner = await keyOf('box');
      if (key !== undefined) expect(winner).toBe(key);
      expect(JSON.parse((await later.paste(String(command))).stdout)).toMatchObject({
        ok: false,
        error: { code: 'unauthorized' },
      });
      expect(await keyOf('box')).toBe(winner);
      await lab.restartController();
      await waitFor(
        'the winner to be back',
        async () => (await lab.cli.json(['machine', 'check', 'box'])).daemon_ok === true,
        40_000,
      );
    },
  );
});
