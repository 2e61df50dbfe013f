import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ProcessTable } from '@codex-remote/platform';
import { Cli, cliProgram, waitFor } from '@codex-remote/test/lab';
import { describe, expect, test } from 'vitest';

const table = new ProcessTable();

describe('the terminal of machine up', () => {
  test('Ctrl-C where machine up was run: agent and controller are of no terminal and no group of its [row 29]', async () => {
    const other = await Cli.open();
    try {
      // A job of a terminal: its own group, the CLI in it, then something that goes on.
      const shell = spawn(
        'sh',
        ['-c', '"$@" && echo up && exec sleep 60', 'sh', cliProgram, 'machine', 'up', 'local'],
        {
          detached: true,
          env: other.env,
          stdio: ['ignore', 'pipe', 'inherit'],
        },
      );
      let said = '';
      shell.stdout?.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
      const ended = once(shell, 'close');
      await waitFor('machine up', () => said.endsWith('up\n'), 60_000);
      const theHome = String((await other.json(['machine', 'show', 'local'])).agent_home);
      const agent = Number(JSON.parse(await readFile(join(theHome, 'agent.json'), 'utf8')).pid);
      const daemons = [agent, (await other.controllerPid()) ?? 0];
      process.kill(-(shell.pid ?? 0), 'SIGINT');
      await ended;
      for (const pid of daemons) {
        expect(table.stat(pid)).toMatchObject({
          pid,
          session: pid,
          state: expect.not.stringMatching(/[ZX]/),
        });
        // Field 7 of proc_pid_stat(5): the controlling terminal.
        const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ');
        expect(fields?.[4]).toBe('0');
      }
      await other.json(['exec', 'run', '-m', 'local', '--brief', '--cmd', 'exit 0']);
    } finally {
      await other.close();
    }
  });

  test('Ctrl-C during machine up: the controller brings it up all the same [row 29]', async () => {
    const other = await Cli.open();
    try {
      const child = spawn(cliProgram, ['machine', 'up', 'local'], {
        detached: true,
        env: other.env,
        stdio: 'ignore',
      });
      const ended = once(child, 'close');
      await waitFor('the work to begin', () => existsSync(join(other.home, 'state', 'local-agent')), 60_000);
      process.kill(-(child.pid ?? 0), 'SIGINT');
      await ended;
      await waitFor(
        'the machine',
        async () => (await other.json(['machine', 'show', 'local'])).connected === true,
        60_000,
      );
    } finally {
      await other.close();
    }
  });
});
