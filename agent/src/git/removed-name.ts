import { randomBytes } from 'node:crypto';
import { renameSync } from 'node:fs';
import { join } from 'node:path';

const prefix = '.removed-';

/** A name for what is out of the way and about to be removed; no name that anybody chooses begins with a dot. */
export function removedName(): string {
  return `${prefix}${randomBytes(9).toString('hex')}`;
}

export function isRemovedName(name: string): boolean {
  return name.startsWith(prefix);
}

/** Out of the way in one step, to be removed: its new path. Throws what the system says. */
export function putAway(folder: string, name: string): string {
  const away = join(folder, removedName());
  renameSync(join(folder, name), away);
  return away;
}
