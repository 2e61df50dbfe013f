import { readFileSync } from 'node:fs';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Env } from '../../context.ts';

const name = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Variables for the command, as with `docker run`: files first, then `--env`, the later one wins. `K` alone takes the
 * value that it has here and is left out where it has none. Throws `usage`; a message never has a value in it.
 */
export function environmentOf(
  files: readonly string[],
  pairs: readonly string[],
  own: Env,
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const file of files) {
    for (const [index, line] of linesOf(file).entries()) {
      const text = line.trimStart();
      if (text !== '' && !text.startsWith('#')) add(env, text, own, `--env-file ${file}, line ${index + 1}`);
    }
  }
  for (const [index, pair] of pairs.entries()) add(env, pair, own, `--env number ${index + 1}`);
  return env;
}

function add(env: Record<string, string>, pair: string, own: Env, where: string): void {
  const equals = pair.indexOf('=');
  const key = equals === -1 ? pair : pair.slice(0, equals);
  if (!name.test(key))
    throw new RemoteError(
      'usage',
      `${where}: it is K=V, or K to take the value from here; K is [A-Za-z_][A-Za-z0-9_]*`,
      { sent: 'no' },
    );
  const value = equals === -1 ? own[key] : pair.slice(equals + 1);
  if (value === undefined) return;
  if (value.includes('\0'))
    throw new RemoteError('usage', `${where}: the value has a NUL in it`, { sent: 'no' });
  env[key] = value;
}

function linesOf(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split(/\r?\n/);
  } catch (error) {
    throw new RemoteError(
      'usage',
      `--env-file: ${file} cannot be read (${(error as NodeJS.ErrnoException).code})`,
      { sent: 'no' },
      error,
    );
  }
}
