import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Everything of a tree that a sync keeps, by path. */
export function snapshot(root: string): Record<string, string> {
  const found: Record<string, string> = {};
  const walk = (folder: Buffer, path: string): void => {
    for (const name of readdirSync(folder, { encoding: 'buffer' }).sort(Buffer.compare)) {
      const at = Buffer.concat([folder, Buffer.from('/'), name]);
      const shown = `${path}${name.toString('latin1')}`;
      const stat = lstatSync(at);
      const mode = (stat.mode & 0o777).toString(8);
      if (stat.isDirectory()) {
        found[shown] = `directory ${mode}`;
        walk(at, `${shown}/`);
      } else if (stat.isSymbolicLink()) found[shown] = `link ${readlinkSync(at, 'latin1')}`;
      else
        found[shown] =
          `file ${mode} ${Math.round(stat.mtimeMs * 1000)} ${createHash('sha256').update(readFileSync(at)).digest('hex')}`;
    }
  };
  walk(Buffer.from(root), '');
  return found;
}
