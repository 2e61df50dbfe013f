import { execFileSync } from 'node:child_process';
import { Cli, SshLab, waitFor } from '@codex-remote/test/lab';

/**
 * Runs in a network namespace of its own, where it may take the network away: `lo` goes down under a controller and the
 * machine behind SSH on loopback, and comes back. Prints what was seen as one line of JSON.
 */
const ip = (...args: string[]) => execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] });
ip('link', 'set', 'lo', 'up');
await using lab = await SshLab.open();
await lab.writeKnownHosts([lab.hostLine(lab.server)]);
const cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: await lab.writeConfig(lab.hostBlock('box')) });
try {
  await cli.json(['machine', 'up', 'box']);
  const cmd = 'echo started >> ~/starts; for i in $(seq 300); do echo $i; sleep 0.1; done; exit 4';
  await cli.json(['exec', 'start', '-m', 'box', '--id', 'counting', '--cmd', cmd]);
  const follower = cli.lines(['exec', 'logs', '--id', 'counting', '--follow'], 0, { timeoutMs: 120_000 });
  const result = () => cli.json(['exec', 'result', '--id', 'counting']);
  await waitFor('some output', async () => Number((await result()).stdout_bytes) > 20);
  ip('link', 'set', 'lo', 'down');
  const began = performance.now();
  const away = await waitFor(
    'the loss to be noticed',
    async () => {
      const now = await result();
      return now.machine_connected === false && now;
    },
    30_000,
  );
  const noticedMs = performance.now() - began;
  ip('link', 'set', 'lo', 'up');
  const numbers = (await follower).filter(({ type }) => type === 'log').map(({ line }) => Number(line));
  const ended = await cli.json(['exec', 'wait', '--id', 'counting'], 4);
  const starts = await cli.run(['exec', 'run', '-m', 'box', '--raw', '--cmd', 'cat ~/starts']);
  const seen = { noticedMs, away, numbers, ended, starts: starts.stdout.toString() };
  process.stdout.write(`${JSON.stringify(seen)}\n`);
} finally {
  ip('link', 'set', 'lo', 'up');
  await cli.close();
}
