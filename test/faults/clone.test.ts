import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { Cli, fullSize, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const run = promisify(execFile);

/** Two agents with one key and one name, as after the cloning of a machine: the home of a running one is copied. */
describe('a cloned machine', () => {
  let cli: Cli;
  let home: string;
  let clone: string;

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
    home = String((await cli.json(['machine', 'show', 'local'])).agent_home);
    clone = join(dirname(home), 'clone');
  });
  afterAll(async () => {
    if (existsSync(clone)) await agent('stop').catch(() => undefined);
    await cli?.close();
  });

  const stateOf = async (of: string) =>
    JSON.parse(await readFile(join(of, 'agent.json'), 'utf8')) as { pid: number; bundle: string };
  const agent = async (verb: 'start' | 'stop') => {
    const { bundle } = await stateOf(verb === 'start' ? home : clone);
    return run(process.execPath, [bundle, verb, '--home', clone], { env: cli.env });
  };
  const show = () => cli.json(['machine', 'show', 'local']);
  const refusals = async () =>
    (await readFile(join(clone, 'agent.log'), 'utf8').catch(() => '')).split('duplicate_agent').length - 1;

  test('the copy is refused again and again, and the live one keeps its connection and its jobs [row 27]', {
    timeout: 240_000,
  }, async () => {
    const { exec_id } = await cli.json(['exec', 'start', '-m', 'local', '--cmd', 'echo $PPID; sleep 600']);
    const before = await show();
    await cp(home, clone, { recursive: true, filter: (path) => !path.endsWith('.sock') });
    // A clone has its own boot, in which nothing of this runs.
    for (const stale of ['agent.json', 'agent.log']) await rm(join(clone, stale), { force: true });
    await agent('start');
    await waitFor('three refusals', async () => (await refusals()) >= 3, 60_000);
    const after = await show();
    expect(after).toMatchObject({
      connected: true,
      connected_since: before.connected_since,
      duplicate_agent_at: expect.any(String),
    });
    expect(await cli.json(['exec', 'result', '--id', String(exec_id)])).toMatchObject({ status: 'running' });
    await cli.json(['exec', 'run', '-m', 'local', '--brief', '--cmd', 'exit 0']);

    // The live one is killed and comes back within moments: the copy does not get between.
    process.kill((await stateOf(home)).pid, 'SIGKILL');
    const seen = await refusals();
    await waitFor('another refusal', async () => (await refusals()) > seen, 60_000);
    await cli.json(['machine', 'up', 'local']);
    expect(await show()).toMatchObject({ connected: true });
    expect(await cli.json(['exec', 'result', '--id', String(exec_id)])).toMatchObject({ status: 'running' });
    await cli.json(['exec', 'cancel', '--id', String(exec_id), '--signal', 'KILL']);

    if (!fullSize) return;
    process.kill((await stateOf(home)).pid, 'SIGKILL');
    await waitFor(
      'the copy to be let in, a minute later',
      async () => (await show()).connected === true,
      120_000,
    );
  });
});
