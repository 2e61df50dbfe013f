import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Failpoint } from '@codex-remote/platform';
import { waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FailpointLab } from './support/failpoint-lab.ts';

describe('an agent that is killed while its policy is narrowed', () => {
  let lab: FailpointLab;
  beforeAll(async () => {
    lab = await FailpointLab.open();
    await lab.cli.json(['machine', 'up', 'local']);
  });
  afterAll(() => lab?.close());

  test.each<[Failpoint, string]>([
    ['agent.policy.before', 'full'],
    ['agent.policy.after', 'read-only'],
  ])('at %s has a whole one after, and the narrower one once it is connected', async (point, mode) => {
    const { home } = await lab.installation();
    const policy = (): { mode: string } => JSON.parse(readFileSync(join(home, 'policy.json'), 'utf8'));
    await lab.cli.json(['machine', 'set', 'local', '--require-label']);
    await lab.cli.json(['machine', 'set', 'local', '--no-require-label']);
    await lab.cli.json(['machine', 'up', 'local']);
    expect(policy()).toEqual({ mode: 'full' });
    await lab.restartAgent(point);
    expect(await lab.cli.json(['machine', 'set', 'local', '--policy', 'read-only'])).toMatchObject({
      policy: { mode: 'read-only' },
      enforced_by: 'controller',
      next_command: 'codex-remote machine up -m local',
    });
    const id = point.replaceAll(/[._]/g, '-');
    // Whatever becomes of the agent: the controller refuses from now on.
    expect(await lab.start(id, 'exit 7', ['--connect-wait', '0s'])).toMatchObject({ ok: false });
    const dead = lab.replaceDeadAgent(point);
    await waitFor(
      'the agent to be dead',
      async () => !(await lab.cli.json(['machine', 'show', 'local'])).connected,
    );
    expect(policy().mode).toBe(mode);
    await dead;
    await waitFor('the narrower policy', () => policy().mode === 'read-only', 30_000);
    expect(await lab.start(id, 'exit 7')).toMatchObject({ ok: false, error: { code: 'policy_refused' } });
    expect(await lab.starts(id)).toBe(0);
    await lab.cli.json(['machine', 'set', 'local', '--policy', 'full']);
    await lab.cli.json(['machine', 'up', 'local']);
  });
});
