import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { GitCall } from '@codex-remote/platform/git';
import { oneLine } from '../sanitize.ts';
import type { Repository } from './repository.ts';

/** Names in one sentence. */
const maxNamed = 8;

/**
 * What a commit names and does not hold, in sentences for people: submodules, and content that Git LFS keeps elsewhere.
 * `nested`: folders that a snapshot left out.
 */
export async function leftOutOf(
  repository: Repository,
  call: GitCall,
  commit: string,
  nested: readonly string[],
  { signal }: { readonly signal?: AbortSignal | undefined },
): Promise<string[]> {
  const [submodules, lfs] = await Promise.all([
    submodulesOf(repository, call, commit, signal),
    lfsPatternsOf(repository, call, commit, signal),
  ]);
  return [
    ...(submodules.length > 0
      ? [`submodules are not sent, their folders are empty there: ${named(submodules)}`]
      : []),
    ...(nested.length > 0
      ? [`folders with a repository of their own are not sent: ${named(nested.map(latin1AsUtf8))}`]
      : []),
    ...(lfs.length > 0
      ? [`files of Git LFS (${named(lfs)}) are pointers there, but for those that are changed here`]
      : []),
  ];
}

async function submodulesOf(
  { git }: Repository,
  call: GitCall,
  commit: string,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const args = [
    'config',
    '--null',
    `--blob=${commit}:.gitmodules`,
    '--get-regexp',
    '^submodule\\..*\\.path$',
  ];
  const answer = await git.ask({ ...call, args }, { signal });
  return answer.stdout
    .toString('utf8')
    .split('\0')
    .flatMap((entry) => entry.split('\n')[1] ?? []);
}

async function lfsPatternsOf(
  { git, commonDir }: Repository,
  call: GitCall,
  commit: string,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const answer = await git.ask(
    { ...call, args: ['cat-file', 'blob', `${commit}:.gitattributes`] },
    { signal },
  );
  const patterns = answer.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => !line.startsWith('#') && /\sfilter=lfs(?:\s|$)/.test(line))
    .map((line) => line.trim().split(/\s+/, 1)[0] ?? '');
  // Attributes in other folders are not looked for: that LFS was used here says enough.
  return patterns.length === 0 && existsSync(join(commonDir, 'lfs', 'objects'))
    ? ['as its attributes say']
    : patterns;
}

function named(names: readonly string[]): string {
  const more = names.length > maxNamed ? ` and ${names.length - maxNamed} more` : '';
  return `${names.slice(0, maxNamed).map(oneLine).join(', ')}${more}`;
}

function latin1AsUtf8(path: string): string {
  return Buffer.from(path, 'latin1').toString('utf8');
}
