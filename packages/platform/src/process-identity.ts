import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';

/** Root of proc(5); tests put a folder of their own there. */
export const procRoot = '/proc';

/** One line of /proc/<pid>/stat, as far as we need it. */
export interface ProcessStat {
  readonly pid: number;
  /** `R`, `S`, `Z` … (proc(5), field 3). A zombie is dead: nothing of it runs. */
  readonly state: string;
  readonly ppid: number;
  /** Process group and session (fields 5 and 6). */
  readonly group: number;
  readonly session: number;
  /** Clock ticks after boot at which it started (field 22), as a decimal text. With pid and boot id it names one process. */
  readonly startTime: string;
}

/** Parses a stat line; the command in parentheses may itself hold spaces and parentheses. */
export function parseStat(line: string): ProcessStat | undefined {
  const open = line.indexOf(' (');
  const close = line.lastIndexOf(') ');
  if (open < 0 || close < open) return undefined;
  const fields = line
    .slice(close + 2)
    .trim()
    .split(/\s+/);
  const [state, ppid, group, session] = fields;
  const startTime = fields[19];
  const pid = Number(line.slice(0, open));
  if (!Number.isSafeInteger(pid) || pid <= 0 || !state || !startTime || !/^\d+$/.test(startTime))
    return undefined;
  return { pid, state, ppid: Number(ppid), group: Number(group), session: Number(session), startTime };
}

/** What the kernel says of a pid now; undefined where it has no such process. */
export function readStat(pid: number, root: string = procRoot): ProcessStat | undefined {
  try {
    return parseStat(readFileSync(`${root}/${pid}/stat`, 'latin1'));
  } catch {
    return undefined;
  }
}

/** The start time of a living process; undefined for none and for a zombie. */
export function readStartTime(pid: number, root: string = procRoot): string | undefined {
  const stat = readStat(pid, root);
  return stat && stat.state !== 'Z' && stat.state !== 'X' ? stat.startTime : undefined;
}

/** Every process there is now. One that ends meanwhile is left out. */
export function listProcesses(root: string = procRoot): ProcessStat[] {
  return readdirSync(root)
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => readStat(Number(name), root) ?? []);
}

/** Whether a process was started with the exact `NAME=value` in its environment. False where we may not look. */
export function hasEnvironmentMark(pid: number, mark: string, root: string = procRoot): boolean {
  try {
    return `\0${readFileSync(`${root}/${pid}/environ`, 'latin1')}`.includes(`\0${mark}\0`);
  } catch {
    return false;
  }
}

/** Names one boot of this kernel: what was true of a pid before it says nothing now. */
export function readBootId(root: string = procRoot): string {
  return readFileSync(`${root}/sys/kernel/random/boot_id`, 'utf8').trim();
}

/**
 * Names this host, 16 hex digits: homes are shared between hosts. machine-id(5) and the host's name together, for images
 * that are cloned with their machine-id.
 */
export function readHostId(machineIdPath: string = '/etc/machine-id'): string {
  let machineId = '';
  try {
    machineId = readFileSync(machineIdPath, 'utf8').trim();
  } catch {
    // Containers may have none; the name must do.
  }
  return createHash('sha256').update(`${machineId}\n${hostname()}`).digest('hex').slice(0, 16);
}
