import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cli, cliProgram, SshLab } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** A careless parent leaves a descriptor open, above those that Node closes by itself. */
const inherited = 200;

describe('a descriptor that is open where codex-remote is started', () => {
  let cli: Cli;
  let open: string;

  beforeAll(async () => {
    cli = await Cli.open();
    open = join(cli.home, 'open');
    writeFileSync(open, '');
    const script = `exec ${inherited}<${open}; "$@"`;
    const child = spawn('bash', ['-c', script, 'bash', cliProgram, 'machine', 'up', 'local'], {
      env: cli.env,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    expect(await once(child, 'exit')).toEqual([0, null]);
  });
  afterAll(() => cli?.close());

  /** Of what it holds, what the caller had open. */
  const held = (pid: number) =>
    readdirSync(`/proc/${pid}/fd`).filter((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`) === open;
      } catch {
        return false;
      }
    });

  test('is held by neither controller nor agent [row 46]', async () => {
    expect(held(Number(await cli.controllerPid()))).toEqual([]);
    const { agent_home: home } = await cli.json(['machine', 'show', 'local']);
    const { pid } = JSON.parse(readFileSync(join(String(home), 'agent.json'), 'utf8'));
    expect(held(pid)).toEqual([]);
  });

  test('reaches no job: it has 0, 1 and 2 [row 46]', async () => {
    const { stdout } = await cli.run(['exec', 'run', '-m', 'local', '--raw', '--', 'ls', '/proc/self/fd']);
    // 3 is the folder that ls reads.
    expect(stdout.toString().trim().split('\n')).toEqual(['0', '1', '2', '3']);
  });
});

test('the SSH channel of machine up closes though the agent runs on [row 46]', async () => {
  await using lab = await SshLab.open();
  const config = await lab.writeConfig(lab.hostBlock('box'));
  const cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: config, CODEX_REMOTE_SSH_TRANSPORT: 'system' });
  try {
    const up = await cli.json(['machine', 'up', 'box'], 0, { timeoutMs: 100_000 });
    expect(up).toMatchObject({ ok: true });
    const processes = await lab.user.processes();
    // What the login shell was for has ended: no process of it is left, and none holds its pipes.
    const words = processes.map((pid) => commandOf(pid));
    expect(words.some((line) => line.includes('agent.mjs daemon'))).toBe(true);
    expect(
      words.filter((line) => / (init|start) /.test(line) || /^(-|\S*\/)?(ba)?sh( -c|$)/.test(line)),
    ).toEqual([]);
  } finally {
    await cli.close();
  }
});

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return '';
  }
}
