import { chmodSync, lstatSync, mkdirSync } from 'node:fs';
import { dirname, normalize } from 'node:path';

/**
 * Where compiled code is kept between runs, made 0700; undefined where the environment names no place, or one to which
 * another user could write: what is in it is run.
 */
export function codeCacheFolder(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const folder = placeFor(env);
  if (folder === undefined) return undefined;
  try {
    if (!onlyWeLeadTo(folder)) return undefined;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return isOurs(folder) ? folder : undefined;
  } catch {
    return undefined;
  }
}

function placeFor(env: Readonly<Record<string, string | undefined>>): string | undefined {
  if (env.CODEX_REMOTE_HOME) return normalize(`${env.CODEX_REMOTE_HOME}/cache/code`);
  if (env.XDG_CACHE_HOME) return normalize(`${env.XDG_CACHE_HOME}/codex-remote/code`);
  return env.HOME ? normalize(`${env.HOME}/.cache/codex-remote/code`) : undefined;
}

function isOurs(folder: string): boolean {
  const { uid, mode } = lstatSync(folder);
  if (uid !== process.getuid?.() || (mode & 0o022) !== 0) return false;
  // Node makes it too, as the umask has it.
  if ((mode & 0o077) !== 0) chmodSync(folder, 0o700);
  return true;
}

/** Everything on the way to it is a folder of ours or of root's, and nobody else's to change, as far as it is there. */
function onlyWeLeadTo(folder: string): boolean {
  const own = process.getuid?.();
  for (let at = folder; ; at = dirname(at)) {
    const stat = lstatSync(at, { throwIfNoEntry: false });
    const link = stat?.isSymbolicLink() && at !== folder;
    const sticky = ((stat?.mode ?? 0) & 0o1000) !== 0;
    if (stat && stat.uid !== own && stat.uid !== 0) return false;
    if (stat && !link && (!stat.isDirectory() || (!sticky && (stat.mode & 0o002) !== 0))) return false;
    if (at === dirname(at)) return true;
  }
}
