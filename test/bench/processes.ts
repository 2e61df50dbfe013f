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

/** The controller, and the agent of `machine`. */
export async function processesOf(cli: Cli, machine: string): Promise<{ controller: number; agent: number }> {
  const home = String((await cli.json(['machine', 'show', machine])).agent_home);
  const agent = Number(JSON.parse(await readFile(join(home, 'agent.json'), 'utf8')).pid);
  const controller = await cli.controllerPid();
  if (controller === undefined) throw new Error('no controller runs');
  return { controller, agent };
}

/** The most that these processes, and every child of ours that begins meanwhile, held resident during `work`, in MiB. */
export async function peakMemory(
  { controller, agent }: { readonly controller: number; readonly agent: number },
  work: () => Promise<unknown>,
): Promise<{ cli: number; controller: number; agent: number }> {
  const peak = { cli: 0, controller: 0, agent: 0 };
  const look = async (name: keyof typeof peak, pid: number): Promise<void> => {
    const now = await residentMb(pid).catch(() => Number.NaN);
    if (now > peak[name]) peak[name] = now;
  };
  let over = false;
  const working = work().finally(() => {
    over = true;
  });
  while (!over) {
    const children = await readFile(`/proc/self/task/${process.pid}/children`, 'utf8').catch(() => '');
    await Promise.all([
      look('controller', controller),
      look('agent', agent),
      ...children
        .split(' ')
        .filter(Boolean)
        .map((pid) => look('cli', Number(pid))),
    ]);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await working;
  return peak;
}
