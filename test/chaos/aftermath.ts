import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Violation } from './evidence.ts';
import { type MachineName, machineNames } from './plan.ts';
import { descriptorsOf, leftovers, rssBytes, zombiesOf } from './processes.ts';
import type { World } from './world.ts';

/** One daemon when nothing happens any more. */
export interface Quiet {
  readonly daemon: string;
  readonly descriptors: number;
  /** Descriptors of execs that have ended, and of files that are gone. */
  readonly held: readonly string[];
}

/** What is left of a run, and what it took. */
export interface Aftermath {
  /** The most that any process of a kind held, by `controller` and `agent`. */
  readonly peakRssBytes: Readonly<Record<string, number>>;
  readonly quiet: readonly Quiet[];
  readonly zombies: readonly string[];
  /** Folders in an agent's `staging` beyond those of its spares. */
  readonly staged: readonly string[];
  /** Processes of ours after everything was brought down. */
  readonly processes: readonly string[];
  /** Files of agents after their machines were purged. */
  readonly files: readonly string[];
  /** What did not come to an end, or not up again. */
  readonly stuck: readonly string[];
}

/** An agent or a controller of an idle machine has a third of these; a leak of one per job or per connection passes them soon. */
export const aftermathLimits = {
  peakRssBytes: { controller: 320 * 2 ** 20, agent: 200 * 2 ** 20 } as Readonly<Record<string, number>>,
  descriptors: 90,
  /** Shims that wait for a job, and one that is being made. */
  staged: 4,
} as const;

/** Pure. */
export function checkAftermath(aftermath: Aftermath): Violation[] {
  const found: Violation[] = [];
  const add = (rule: string, what: string): void => void found.push({ rule, what, operations: [] });
  for (const [name, bytes] of Object.entries(aftermath.peakRssBytes))
    if (bytes > (aftermathLimits.peakRssBytes[name] ?? 0))
      add('memory_is_bounded', `${name} held ${Math.round(bytes / 2 ** 20)} MiB`);
  for (const { daemon, descriptors, held } of aftermath.quiet) {
    if (descriptors > aftermathLimits.descriptors)
      add('no_descriptor_leaks', `${daemon} has ${descriptors} descriptors open`);
    if (held.length > 0) add('no_descriptor_leaks', `${daemon} holds ${held.slice(0, 5).join(', ')}`);
  }
  for (const zombie of aftermath.zombies) add('no_zombie_is_left', zombie);
  for (const line of aftermath.staged) add('no_folder_is_left', line);
  for (const line of aftermath.processes) add('no_process_is_left', line);
  for (const line of aftermath.files) add('no_folder_is_left', line);
  for (const line of aftermath.stuck) add('everything_comes_to_an_end', line);
  return found;
}

/** Notes the largest resident set of each kind of daemon, once a second. Its owner calls `stop`. */
export class MemoryWatch {
  readonly peaks: Record<string, number> = {};
  readonly #timer: NodeJS.Timeout;

  constructor(world: World) {
    this.#timer = setInterval(() => {
      for (const { name, pid } of world.daemons())
        this.peaks[name] = Math.max(this.peaks[name] ?? 0, rssBytes(pid) ?? 0);
    }, 1_000);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/** The daemons while they are up and nothing runs. */
export async function lookAtQuiet(world: World): Promise<Pick<Aftermath, 'quiet' | 'zombies' | 'staged'>> {
  const daemons = world.daemons();
  return {
    quiet: daemons.map(({ name, on, pid }) => {
      const targets = descriptorsOf(pid);
      return {
        daemon: `${name} ${on}`,
        descriptors: targets.length,
        held: targets.filter((target) => target.includes('/execs/') || / \(deleted\)$/.test(target)),
      };
    }),
    zombies: zombiesOf(new Set(daemons.map(({ pid }) => pid))),
    staged: (await Promise.all(machineNames.map((machine) => stagedOn(world, machine)))).flat(),
  };
}

/** Processes and files when everything was brought down. */
export async function lookAtLeft(world: World): Promise<Pick<Aftermath, 'processes' | 'files'>> {
  const files = await Promise.all(
    machineNames.map(async (machine) =>
      (await entries(world.agentBase(machine))).map((name) => `${machine}: ${name} is still there`),
    ),
  );
  // The lab's own server is no part of what is tested.
  return {
    processes: leftovers([...world.roots, world.folder], world.uids, /\) sshd|\/usr\/sbin\/sshd|ssh-agent/),
    files: files.flat(),
  };
}

async function stagedOn(world: World, machine: MachineName): Promise<string[]> {
  const base = world.agentBase(machine);
  const homes: string[] = [];
  for (const host of await entries(base))
    if (host !== 'store' && host !== 'run')
      for (const controller of await entries(join(base, host))) homes.push(join(base, host, controller));
  const found: string[] = [];
  for (const home of homes) {
    const staged = await entries(join(home, 'staging'));
    if (staged.length > aftermathLimits.staged)
      found.push(`${machine}: staging has ${staged.length} entries: ${staged.slice(0, 8).join(', ')}`);
  }
  return found;
}

async function entries(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
    throw error;
  });
}
