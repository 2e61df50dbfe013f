import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';

/** One process of one boot: a pid alone is used again, a pid with its start time is not. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/<pid>/stat: clock ticks after boot. */
  readonly start: number;
}

/** What /proc/<pid>/stat says, see proc_pid_stat(5). */
export interface ProcessStat extends ProcessIdentity {
  /** R, S, D, T, Z … */
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
}

/**
 * Reads the process table. All of it is Linux; `root` and `hostFacts` are replaced by tests.
 *
 * Not being able to look is not seeing nothing: where the system refuses (no descriptor left, an I/O error) every method
 * throws what `RemoteError.from` makes of it, and nobody is taken for dead.
 */
export class ProcessTable {
  readonly #root: string;
  /** Of the time namespace we are in, see time_namespaces(7): what is stored is told from the host's boot on. */
  readonly #bootOffsetSeconds: number;

  constructor(root = '/proc') {
    this.#root = root;
    const offset = /^boottime\s+(-?\d+)/m.exec(this.#read('self/timens_offsets') ?? '')?.[1];
    this.#bootOffsetSeconds = Number(offset ?? 0);
  }

  /** New with every boot: a uuid. Empty where the system does not tell. */
  bootId(): string {
    return this.#read('sys/kernel/random/boot_id')?.trim() ?? '';
  }

  /** Milliseconds since boot, time asleep included; resolution 10 ms. Unlike the wall clock it never jumps. Never throws. */
  uptimeMs(): number {
    let seconds: number;
    try {
      seconds = Number(this.#read('uptime')?.split(' ')[0]);
    } catch {
      // No descriptor left: the system's clock needs none, and has whole seconds.
      seconds = uptime();
    }
    return Number.isFinite(seconds) ? Math.round((seconds - this.#bootOffsetSeconds) * 1000) : 0;
  }

  /** Undefined when there is no such process. */
  stat(pid: number): ProcessStat | undefined {
    const line = this.#read(`${pid}/stat`);
    const stat = line === undefined ? undefined : parseStat(line);
    return stat && { ...stat, start: stat.start - this.#bootOffsetSeconds * ticksPerSecond };
  }

  /** True when exactly this process is there and is not a zombie: kill(2) succeeds on zombies, so it proves nothing. */
  isAlive(identity: ProcessIdentity): boolean {
    const stat = this.stat(identity.pid);
    return stat !== undefined && stat.start === identity.start && !isDead(stat);
  }

  /** Every process that is not dead. A process that ends meanwhile is left out. */
  all(): ProcessStat[] {
    const found: ProcessStat[] = [];
    for (const pid of this.#pids()) {
      const stat = this.stat(pid);
      if (stat && !isDead(stat)) found.push(stat);
    }
    return found;
  }

  /** Not dead, with this session id. While there is one, the kernel does not use the id again. */
  sessionMembers(session: number): ProcessStat[] {
    return this.all().filter((stat) => stat.session === session);
  }

  groupMembers(group: number): ProcessStat[] {
    return this.all().filter((stat) => stat.group === group);
  }

  /** Not dead, started with `name=value` in their environment. Processes of others cannot be read and are left out. */
  marked(name: string, value: string): ProcessStat[] {
    return this.all().filter((stat) => this.hasMark(stat.pid, name, value));
  }

  hasMark(pid: number, name: string, value: string): boolean {
    const environ = this.#read(`${pid}/environ`);
    return environ !== undefined && `\0${environ}\0`.includes(`\0${name}=${value}\0`);
  }

  /** Its working directory. Gone, or not ours to read: undefined. */
  directory(pid: number): string | undefined {
    try {
      return readlinkSync(join(this.#root, `${pid}/cwd`));
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw RemoteError.from(error);
    }
  }

  /** Inode and device of what it has open as `fd`. Gone, or not ours to see: undefined. */
  open(pid: number, fd: number): { readonly ino: number; readonly dev: number } | undefined {
    try {
      return statSync(join(this.#root, `${pid}/fd/${fd}`));
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw RemoteError.from(error);
    }
  }

  #pids(): number[] {
    try {
      return readdirSync(this.#root)
        .map(Number)
        .filter((pid) => Number.isInteger(pid) && pid > 0);
    } catch (error) {
      if (isAbsent(error)) return [];
      throw RemoteError.from(error);
    }
  }

  /** Latin-1: names and environments are bytes. Gone, or not ours to read: undefined. */
  #read(path: string): string | undefined {
    try {
      return readFileSync(join(this.#root, path), 'latin1');
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw RemoteError.from(error);
    }
  }
}

/** The unit of start times in /proc; sysconf(_SC_CLK_TCK) is 100 on every Linux of today. */
const ticksPerSecond = 100;

/** ESRCH: it ended between our opening and our reading. EACCES, EPERM: another user's. */
const absent: readonly unknown[] = ['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ENOTDIR'];

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && absent.includes(error.code);
}

/**
 * `pid (comm) state ppid pgrp session …`; comm may hold spaces and parentheses, so the fields are counted from the last
 * one. Undefined for anything else.
 */
export function parseStat(line: string): ProcessStat | undefined {
  const open = line.indexOf(' (');
  const close = line.lastIndexOf(') ');
  if (open < 1 || close < open) return undefined;
  const pid = Number(line.slice(0, open));
  const fields = line
    .slice(close + 2)
    .trimEnd()
    .split(' ');
  const [state, parent, group, session] = fields;
  // Field 22 of the line, the first after comm being field 3.
  const start = Number(fields[19]);
  if (!state || !Number.isInteger(pid) || !Number.isInteger(start)) return undefined;
  const stat = { pid, start, state, parent: Number(parent), group: Number(group), session: Number(session) };
  return [stat.parent, stat.group, stat.session].every(Number.isInteger) ? stat : undefined;
}

/** Z: ended, not yet reaped. X: about to vanish. */
function isDead(stat: ProcessStat): boolean {
  return stat.state === 'Z' || stat.state === 'X';
}
