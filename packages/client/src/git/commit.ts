import type { Git, GitCall } from '@codex-remote/platform/git';

export interface Commit {
  readonly commit: string;
  readonly tree: string;
  /** When it was committed: seconds since the epoch and zone, as git has them. */
  readonly date: string;
}

/**
 * The commit that a name means, by `cat-file --batch`: what is on its stdin is never an option. Undefined where nothing, or
 * more than one thing, has that name. `call` has no arguments yet.
 */
export async function readCommit(
  git: Git,
  call: GitCall,
  ref: string,
  run: { readonly signal?: AbortSignal | undefined } = {},
): Promise<Commit | undefined> {
  if (/[\n\r\0]/.test(ref) || ref.startsWith('-')) return undefined;
  const input = [Buffer.from(`${ref}^{commit}\n`)];
  const answer = await git.run({ ...call, args: ['cat-file', '--batch'] }, { ...run, input });
  const end = answer.indexOf('\n');
  const [, commit] = /^([0-9a-f]{40,64}) commit \d+$/.exec(answer.toString('latin1', 0, end)) ?? [];
  if (commit === undefined) return undefined;
  const header = answer.toString('latin1', end + 1).split('\n\n', 1)[0] ?? '';
  const [, tree] = /^tree ([0-9a-f]+)$/m.exec(header) ?? [];
  const [, date] = /^committer .*> (-?\d+ [+-]\d{4})$/m.exec(header) ?? [];
  return tree === undefined ? undefined : { commit, tree, date: date ?? '0 +0000' };
}
