import { readFileSync } from 'node:fs';

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
  // A short command asks it too, and these take milliseconds to load.
  const { createHash } = process.getBuiltinModule('node:crypto');
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

function readHostFacts(): HostFacts {
  let machineId = '';
  try {
    machineId = readFileSync('/etc/machine-id', 'utf8');
  } catch {
    // Some containers and macOS have none: the host name must do.
  }
  return { machineId, hostname: process.getBuiltinModule('node:os').hostname() };
}
