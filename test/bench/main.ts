import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { secondWorktree } from './checkouts.ts';
import { wholeCommands } from './commands.ts';
import { followerLatency, hugeLog } from './logs.ts';
import { manyExecs, startsBesideFlood } from './many.ts';
import { round } from './measure.ts';
import { agentIdleMemory } from './memory.ts';
import { restartWithManyEnded } from './restart.ts';
import { logThroughput } from './throughput.ts';
import { syncFirstPush, syncMemory, syncSecondRun } from './trees.ts';
import { warmExec } from './warm.ts';

/**
 * What a user waits for, measured on real parts; peers run in the same rounds. One JSON result on stdout and in
 * `bench-results/`. With names of suites as arguments, only those.
 */
const suites: Readonly<Record<string, () => Promise<unknown>>> = {
  whole_commands: wholeCommands,
  warm_exec_true: warmExec,
  log_throughput: logThroughput,
  agent_idle_memory: agentIdleMemory,
  many_execs: manyExecs,
  starts_beside_flood: startsBesideFlood,
  follower_latency: followerLatency,
  huge_log: hugeLog,
  sync_second_run: syncSecondRun,
  sync_first_push: syncFirstPush,
  sync_memory: syncMemory,
  restart_with_many_ended: restartWithManyEnded,
  second_worktree: secondWorktree,
};

const asked = process.argv.slice(2);
const unknown = asked.find((name) => !Object.hasOwn(suites, name));
if (unknown !== undefined)
  throw new Error(`there is no suite ${unknown}; there are ${Object.keys(suites).join(', ')}`);
const at = new Date().toISOString();
const results: Record<string, unknown> = {
  at,
  machine: { cpus: cpus().length, model: cpus()[0]?.model, memory_bytes: totalmem(), node: process.version },
};
for (const [name, run] of Object.entries(suites)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  // The last minute: above a fraction of the cores the figures are not worth much.
  const load_before = round(loadavg()[0] ?? Number.NaN);
  results[name] = { load_before, result: await run() };
}
const folder = join(import.meta.dirname, '../../bench-results');
const text = `${JSON.stringify(results, undefined, 2)}\n`;
await mkdir(folder, { recursive: true });
await writeFile(join(folder, `${at.replaceAll(':', '-')}.json`), text);
process.stdout.write(text);
