import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { failpoints, ProcessTable } from '@codex-remote/platform';
import { freePort, PastedHome, waitFor } from '@codex-remote/test/lab';
import { expect, test } from 'vitest';
import { FailpointLab } from './support/failpoint-lab.ts';

const day = 24 * 3600 * 1000;

/** A failpoint that nothing comes by proves nothing: this life of one user comes by all of them. */
test('every failpoint is met by programs that do their work', { timeout: 240_000 }, async () => {
  const lab = await FailpointLab.open();
  try {
    const { cli } = lab;
    const hits = lab.file('hits');
    cli.env.CR_FP_HITS = hits;
    // The audit log begins files soon, and lets the oldest go.
    await mkdir(lab.file('config'), { mode: 0o700 });
    await writeFile(lab.file('config/audit.json'), JSON.stringify({ segment_bytes: 256, keep_bytes: 256 }));
    for (let i = 0; i < 3; i++) await lab.restartController();
    const at = `127.0.0.1:${await freePort()}`;
    await cli.json(['controller', 'start', '--listen', at, '--public-url', `https://${at}`]);
    await cli.json(['token', 'create', '--scope', 'machines:read']);
    const { command } = await cli.json(['machine', 'invite', 'invited']);
    const invited = await PastedHome.open(lab.file('invited'));
    expect(await invited.paste(String(command))).toMatchObject({ status: 0 });
    await invited.close();
    await cli.json(['machine', 'up', 'local']);

    await lab.start('ends', 'echo x >kept; exit 7', ['--artifact', 'kept']);
    await cli.json(['exec', 'wait', '--id', 'ends'], 7);
    await lab.start('stubborn', 'trap "" TERM; echo ready; while :; do sleep 0.05; done');
    await lab.ready('stubborn');
    await cli.json(['exec', 'cancel', '--id', 'stubborn', '--grace', '100ms']);

    await lab.start('orphan', 'echo ready; sleep 2');
    await lab.ready('orphan');
    const { home } = await lab.installation();
    const processes = new ProcessTable();
    const shim = shimOf(await lab.noted('identity', 'orphan'));
    for (const { pid } of processes.sessionMembers(shim)) process.kill(pid, 'SIGKILL');
    await cli.run(['exec', 'wait', '--id', 'orphan']);

    await cli.json(['file', 'write', '-m', 'local', 'written', '--content', 'x']);

    await lab.start('long', 'yes | head -c 8000000; exit 7', ['--log-limit', '1M']);
    await cli.json(['exec', 'wait', '--id', 'long'], 7);

    await cli.json(['machine', 'set', '-m', 'local', '--queue', 'one=1']);
    await lab.start('first', 'echo ready; exec sleep 60', ['--queue', 'one']);
    await lab.ready('first');
    await lab.start('second', 'exit 0', ['--queue', 'one']);
    await lab.start('third', 'exit 0', ['--queue', 'one']);
    await cli.json(['exec', 'cancel', '--id', 'second']);
    await cli.json(['exec', 'cancel', '--id', 'first']);
    await cli.json(['exec', 'wait', '--id', 'third'], 0);
    await cli.json(['machine', 'set', '-m', 'local', '--require-label']);

    await applies(lab);

    // Retention takes what ended long ago, at the next start.
    await lab.noted('acknowledged', 'ends');
    const agent = await lab.agentProcess();
    process.kill(agent.pid, 'SIGSTOP');
    // It does not end by TERM while it is stopped: KILL after the grace.
    await cli.json(['machine', 'down', 'local']);
    await lab.age('ends', 15 * day);
    await cli.json(['machine', 'up', 'local']);
    await waitFor('retention', async () => !(await readdir(join(home, 'execs'))).includes('ends'));

    const met = (): Promise<string[]> =>
      readFile(hits, 'utf8').then((text) => [...new Set(text.split('\n').filter(Boolean))].sort());
    await waitFor('all failpoints', async () => (await met()).length === failpoints.length).catch(
      () => undefined,
    );
    expect(await met()).toEqual([...failpoints].sort());
  } finally {
    await lab.close();
  }
});

/** An apply, and one that fails at its first step: that is taken back. */
async function applies(lab: FailpointLab): Promise<void> {
  const { cli } = lab;
  const repository = lab.file('repository');
  const git = (...args: string[]) => execFileSync('git', args, { cwd: repository });
  await mkdir(repository);
  git('init', '-q');
  await writeFile(join(repository, 'text'), 'old\n');
  git('add', '-A');
  git('-c', 'user.name=a', '-c', 'user.email=a@b.c', 'commit', '-qm', 'begin');
  await cli.json(['project', 'add', 'edited', '--repo', repository]);
  const project = ['--project', 'edited', '--ref', 'HEAD', '--label', 'apply'];
  await cli.json(['exec', 'start', '--id', 'edits', '-m', 'local', ...project, '--cmd', 'echo new > text']);
  await cli.json(['exec', 'wait', '--id', 'edits'], 0);
  const apply = ['exec', 'apply', '--id', 'edits', '--dir', repository];
  cli.env.CR_FP = 'client.apply.step:throw=EIO';
  await cli.json(apply, 2);
  delete cli.env.CR_FP;
  await cli.json(apply);
}

function shimOf(journal: string): number {
  const line = journal.split('\n').find((text) => text.startsWith('{"identity"')) ?? '';
  return (JSON.parse(line) as { identity: { shim: { pid: number } } }).identity.shim.pid;
}
