import { lstatSync, realpathSync } from 'node:fs';
import { type BytePath, lastName, parentPath, pathText, systemPath } from './entry.ts';

/**
 * Whether names that differ in case alone are one where `path`, absolute, is or will be. Looks at the nearest folder that is
 * there under another spelling of its name; writes nothing. Macs take forms of Unicode for one in any case.
 */
export function foldsNames(path: BytePath): boolean {
  if (process.platform === 'darwin') return true;
  for (let at = path; at !== ''; at = parentPath(at)) {
    try {
      const real = realpathSync(systemPath(at), { encoding: 'latin1' as BufferEncoding });
      const name = lastName(real);
      const other = flipped(name);
      if (other === name) continue;
      const [there, twin] = [real, `${parentPath(real)}/${other}`].map((spelled) =>
        lstatSync(systemPath(spelled), { throwIfNoEntry: false }),
      );
      return there !== undefined && twin !== undefined && there.ino === twin.ino && there.dev === twin.dev;
    } catch {
      // The one above it tells as much.
    }
  }
  return false;
}

function flipped(name: BytePath): BytePath {
  const text = pathText(name);
  const upper = text.toUpperCase();
  return upper === text ? text.toLowerCase() : upper;
}
