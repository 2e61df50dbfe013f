import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Cli, SshLab, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** Stand-ins that come first in the PATH of a login user: a machine where logind ends a user's processes at logout. */
const programs: Readonly<Record<string, string>> = {
  systemctl: `case "$*" in --version) echo 'systemd 252 (252.38-1~deb12u1)' ;; *show-environment) echo "HOME=$HOME" ;; *) exit 1 ;; esac`,
  loginctl: `case "$*" in *KillUserProcesses*) echo yes ;; *Linger*) echo no ;; *) exit 1 ;; esac`,
  crontab: `case $1 in -l) cat ~/crontab 2>/dev/null || { echo "no crontab for $USER" >&2; exit 1; } ;; -) cat >~/crontab ;; esac`,
  pgrep: 'exit 0',
};

describe('a machine whose logind ends what a user leaves behind', () => {
  let lab: SshLab;
  let cli: Cli;

  beforeAll(async () => {
    lab = await SshLab.open();
    for (const [name, body] of Object.entries(programs))
      await lab.user.write(`fake/${name}`, `#!/bin/sh\necho "${name} $*" >>~/calls\n${body}\n`, 0o755);
    await lab.user.write('.bashrc', `PATH=~/fake:${lab.path}\nexport PATH\n`);
    await lab.user.write('crontab', '0 4 * * * backup\n');
    const config = await lab.writeConfig(lab.hostBlock('box'));
    cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: config });
  });
  afterAll(async () => {
    await cli?.close();
    await lab?.close();
  });

  const file = (name: string): Promise<string> => readFile(join(lab.user.home, name), 'utf8');

  test('is asked for linger, and machine up and show say what is lost when it refuses [row 30]', async () => {
    const up = await cli.json(['machine', 'up', 'box', '--boot']);
    const service = {
      kind: 'detached',
      survives: { logout: 'no', reboot: 'yes', crash: 'yes' },
      note: expect.stringContaining('linger is off'),
    };
    expect(up).toMatchObject({
      service,
      warnings: expect.arrayContaining([
        expect.stringContaining(`sudo loginctl enable-linger ${lab.user.name}`),
      ]),
    });
    expect(await cli.json(['machine', 'show', 'box'])).toMatchObject({ service });
    const calls = (await file('calls')).split('\n');
    expect(calls).toContain('systemctl --user show-environment');
    expect(calls).toContain('loginctl --no-ask-password enable-linger');
    expect(calls).toContain(`loginctl --no-ask-password enable-linger ${lab.user.name}`);
    expect(calls.filter((call) => call.startsWith('systemctl --user ')).length).toBeLessThan(5);
  });

  test('after a logout that killed everything has a lost job, and no code for it [row 30]', async () => {
    await cli.json(['exec', 'start', '-m', 'box', '--id', 'logged-out', '--cmd', 'sleep 300']);
    await waitFor('it to run', async () => (await cli.json(['exec', 'result', '--id', 'logged-out'])).pid);
    // Until nothing is left: the connection of the tunnel is the user's too.
    await waitFor('an end of all', async () => {
      const pids = await lab.user.processes();
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      return pids.length === 0;
    });
    await cli.json(['machine', 'up', 'box']);
    expect(await cli.json(['exec', 'result', '--id', 'logged-out'])).toMatchObject({
      status: 'lost',
      exit_code: null,
      safe_to_retry: false,
      next_action: 'fix-config',
    });
  });

  test('has a crontab line that brings the agent back, beside those that were there; machine down takes it away', async () => {
    const lines = (await file('crontab')).trimEnd().split('\n');
    expect(lines).toEqual([
      '0 4 * * * backup',
      expect.stringMatching(/^@reboot .*keeper\.sh.* # codex-remote-agent-[0-9a-f]{12}$/),
    ]);
    const { agent_home } = await cli.json(['machine', 'show', 'box']);
    const agent = async (): Promise<number> =>
      (
        JSON.parse(await file(join(String(agent_home).slice(lab.user.home.length), 'agent.json'))) as {
          pid: number;
        }
      ).pid;
    const before = await agent();
    // A reboot: everything ends, then cron hands the line to sh.
    await waitFor('an end of all', async () => {
      const pids = await lab.user.processes();
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      return pids.length === 0;
    });
    const command = (lines[1] ?? '').replace('@reboot ', '').replaceAll('\\%', '%');
    const asUser = [`--reuid=${lab.user.uid}`, `--regid=${lab.user.gid}`, '--clear-groups'];
    spawn('setpriv', [...asUser, '/bin/sh', '-c', command], {
      cwd: lab.user.home,
      env: { HOME: lab.user.home, PATH: '/usr/bin:/bin', LOGNAME: lab.user.name },
      stdio: 'ignore',
      detached: true,
    }).unref();
    await waitFor('another agent', async () => (await agent()) !== before);
    expect(
      await cli.json(['exec', 'run', '-m', 'box', '--brief', '--connect-wait', '60s', '--cmd', 'true']),
    ).toMatchObject({ exit_code: 0 });
    await cli.json(['machine', 'down', 'box', '--purge']);
    expect(await file('crontab')).toBe('0 4 * * * backup\n');
    expect(await lab.user.processes().then((pids) => pids.length)).toBeLessThan(5);
  });
});
