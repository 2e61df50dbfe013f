import { join } from 'node:path';

/** Where compiled code is kept between runs; undefined where the environment names no place. */
export function codeCacheFolder(env: Readonly<Record<string, string | undefined>>): string | undefined {
  if (env.CODEX_REMOTE_HOME) return join(env.CODEX_REMOTE_HOME, 'cache/code');
  if (env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, 'codex-remote/code');
  return env.HOME ? join(env.HOME, '.cache/codex-remote/code') : undefined;
}
