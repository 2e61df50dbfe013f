import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { type ProcessIdentity, type ProcessStat, ProcessTable } from '@codex-remote/platform';

const table = new ProcessTable();

/** Signals exactly this process, if it is still there. */
export function signal({ pid, start }: ProcessIdentity, name: NodeJS.Signals): boolean {
  if (table.stat(pid)?.start !== start) return false;
  try {
    process.kill(pid, name);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

export function isAlive(identity: ProcessIdentity): boolean {
  return table.isAlive(identity);
}

/** The controller of a home, found by its environment; two while one takes over from another. */
export function controllersOf(home: string): ProcessStat[] {
  return table
    .all()
    .filter(
      ({ pid }) =>
        words(pid).some((word) => word.endsWith('/controller.mjs')) &&
        table.hasMark(pid, 'CODEX_REMOTE_HOME', home),
    );
}

/** Agents whose home lies below `base`. */
export function agentsBelow(base: string): ProcessStat[] {
  return table.all().filter(({ pid }) => {
    const line = words(pid);
    return line.includes('daemon') && line[line.indexOf('--home') + 1]?.startsWith(`${base}/`) === true;
  });
}

/** The outer shell of an exec's shim: it lives in the exec's folder and leads its session. */
export function shimOf(execId: string, roots: readonly string[]): ProcessStat | undefined {
  return table.all().find(({ pid, session }) => {
    if (pid !== session) return false;
    const folder = link(`/proc/${pid}/cwd`);
    return folder?.endsWith(`/execs/${execId}`) === true && roots.some((root) => folder.startsWith(root));
  });
}

export function parentOf(pid: number): ProcessStat | undefined {
  const parent = table.stat(pid)?.parent;
  return parent === undefined ? undefined : table.stat(parent);
}

/** Every process with one of these texts in its command line or environment, or of one of these users: `pid command`. */
export function leftovers(texts: readonly string[], uids: readonly number[], not: RegExp): string[] {
  return table
    .all()
    .filter(({ pid }) => pid !== process.pid && belongs(pid, texts, uids))
    .map(
      ({ pid, parent, state }) => `${pid} (parent ${parent}, ${state}) ${words(pid).join(' ').slice(0, 200)}`,
    )
    .filter((line) => !not.test(line));
}

/** Ended children of `parents` that nobody reaped. */
export function zombiesOf(parents: ReadonlySet<number>): string[] {
  return pids().flatMap((pid) => {
    const stat = table.stat(pid);
    return stat?.state === 'Z' && parents.has(stat.parent) ? [`${pid} (parent ${stat.parent})`] : [];
  });
}

/** What the descriptors of a process lead to. */
export function descriptorsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => link(`/proc/${pid}/fd/${fd}`) ?? []);
  } catch {
    return [];
  }
}

export function rssBytes(pid: number): number | undefined {
  const pages = text(`/proc/${pid}/statm`).split(' ')[1];
  return pages === undefined ? undefined : Number(pages) * 4096;
}

function belongs(pid: number, texts: readonly string[], uids: readonly number[]): boolean {
  const uid = /^Uid:\s+(\d+)/m.exec(text(`/proc/${pid}/status`))?.[1];
  if (uid !== undefined && uids.includes(Number(uid))) return true;
  const all = text(`/proc/${pid}/environ`) + text(`/proc/${pid}/cmdline`);
  return texts.some((one) => all.includes(one));
}

function words(pid: number): string[] {
  return text(`/proc/${pid}/cmdline`).split('\0').filter(Boolean);
}

function pids(): number[] {
  return readdirSync('/proc').map(Number).filter(Number.isInteger);
}

/** Empty for what is gone. */
function text(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function link(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
