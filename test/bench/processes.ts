import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cli } from '../src/lab/index.ts';
import { round } from './measure.ts';

/** Of the machine `local`. */
export async function agentPid(cli: Cli): Promise<number> {
  const home = String((await cli.json(['machine', 'show', 'local'])).agent_home);
  return Number(JSON.parse(await readFile(join(home, 'agent.json'), 'utf8')).pid);
}

/** Resident set size (proc_pid_status(5), VmRSS), in MiB. */
export async function residentMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return round(Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024);
}

/** Proportional set size, in kilobytes, of every process below `root` whose name fits. */
export async function memoryBelow(root: number, name: RegExp): Promise<number> {
  const parents = new Map<number, number>();
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const text = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '');
    const parent = Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[1]);
    if (parent > 0) parents.set(Number(entry), parent);
  }
  const isBelow = (pid: number): boolean => {
    for (let at = parents.get(pid); at !== undefined && at > 1; at = parents.get(at))
      if (at === root) return true;
    return false;
  };
  let total = 0;
  for (const pid of parents.keys()) {
    if (!isBelow(pid)) continue;
    const comm = (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).trim();
    if (!name.test(comm)) continue;
    const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '');
    total += Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1] ?? 0);
  }
  return total;
}
