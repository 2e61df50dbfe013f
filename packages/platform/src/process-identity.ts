import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';

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

/** Reads the process table. All of it is Linux; `root` and `hostFacts` are replaced by tests. */
export class ProcessTable {
  readonly #root: string;

  constructor(root = '/proc') {
    this.#root = root;
  }

  /** New with every boot: a uuid. Empty where the system does not tell. */
  bootId(): string {
    return this.#read('sys/kernel/random/boot_id')?.trim() ?? '';
  }

  /** Milliseconds since boot, time asleep included; resolution 10 ms. Unlike the wall clock it never jumps. */
  uptimeMs(): number {
    const seconds = Number(this.#read('uptime')?.split(' ')[0]);
    return Number.isFinite(seconds) ? Math.round(seconds * 1000) : 0;
  }

  /** Undefined when there is no such process. */
  stat(pid: number): ProcessStat | undefined {
    const line = this.#read(`${pid}/stat`);
    return line === undefined ? undefined : parseStat(line);
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

  #pids(): number[] {
    try {
      return readdirSync(this.#root)
        .map(Number)
        .filter((pid) => Number.isInteger(pid) && pid > 0);
    } catch {
      return [];
    }
  }

  /** Latin-1: names and environments are bytes. Gone, or not ours to read: undefined. */
  #read(path: string): string | undefined {
    try {
      return readFileSync(join(this.#root, path), 'latin1');
    } catch {
      return undefined;
    }
  }
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

export interface HostFacts {
  /** Contents of /etc/machine-id, or empty. */
  readonly machineId: string;
  readonly hostname: string;
}

/**
 * Tells hosts apart that share a home: 16 hex digits of sha256 over /etc/machine-id and the host name (clones often share
 * the first, containers often lack it).
 */
export function hostId(facts: HostFacts = readHostFacts()): string {
  const text = `${facts.machineId.trim()}\n${facts.hostname}`;
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

function readHostFacts(): HostFacts {
  let machineId = '';
  try {
    machineId = readFileSync('/etc/machine-id', 'utf8');
  } catch {
    // Some containers and macOS have none: the host name must do.
  }
  return { machineId, hostname: hostname() };
}
