import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ControllerClient } from '@codex-remote/client';
import { controllerPaths, ProcessTable } from '@codex-remote/platform';
import { writeEndedExecs } from '../../agent/test/support/ended-execs.ts';
import { Cli } from '../src/lab/index.ts';
import { summarise } from './measure.ts';
import { agentPid, residentMb } from './processes.ts';

const execs = 10_000;
const rounds = 3;

/** From the start of an agent's process that holds 10,000 ended execs to its first connection. */
export async function restartWithManyEnded(): Promise<unknown> {
  const sample: number[] = [];
  let rss = 0;
  for (let i = 0; i < rounds; i++) {
    const cli = await Cli.open();
    try {
      await cli.json(['machine', 'up', 'local']);
      const home = String((await cli.json(['machine', 'show', 'local'])).agent_home);
      await cli.json(['machine', 'down', 'local']);
      writeEndedExecs({ execs: join(home, 'execs'), count: execs, acknowledged: true });
      await cli.json(['machine', 'up', 'local']);
      const pid = await agentPid(cli);
      rss = await residentMb(pid);
      sample.push((await connectedAt(home, pid)) - startedAt(pid));
      const client = new ControllerClient({ socket: controllerPaths(cli.env).socket });
      const { state } = await client.exec({ id: `ended-${execs - 1}`, machine: 'local' }, 0);
      if (state.status !== 'finished') throw new Error(`the exec is ${state.status}`);
    } finally {
      await cli.close();
    }
  }
  return { execs, serving: { ...summarise(sample, 'ms'), goal: 'median <= 1000' }, agent_rss_mb: rss };
}

/** Epoch milliseconds; the system counts a process's start in ticks of 10 ms since boot. */
function startedAt(pid: number): number {
  const table = new ProcessTable();
  const start = table.stat(pid)?.start ?? Number.NaN;
  return Date.now() - (table.uptimeMs() - start * 10);
}

/** Epoch milliseconds, from the agent's own log. */
async function connectedAt(home: string, pid: number): Promise<number> {
  const log = await readFile(join(home, 'agent.log'), 'utf8');
  for (const line of log.split('\n')) {
    if (!line.startsWith('{')) continue;
    const said = JSON.parse(line) as { pid: number; time: string; msg: string };
    if (said.pid === pid && said.msg === 'connected') return Date.parse(said.time);
  }
  throw new Error(`the agent ${pid} did not connect`);
}
