import { randomBytes } from 'node:crypto';

/** A name for what is out of the way and about to be removed; no name that anybody chooses begins with a dot. */
export function removedName(): string {
  return `.removed-${randomBytes(9).toString('hex')}`;
}
