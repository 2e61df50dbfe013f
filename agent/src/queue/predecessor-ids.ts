import type { ExecSpec } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Entries } from '../exec/entries.ts';
import type { Tombstones } from '../exec/tombstones.ts';
import type { Waits } from './predecessors.ts';

/** What a spec waits for, its predecessors by their whole ids. Throws `exec_not_found`, `ambiguous_id`. */
export function resolveWaits(spec: ExecSpec, entries: Entries, tombstones: Tombstones): Waits {
  const whole = (flag: string, ids: readonly string[] | undefined): string[] | undefined =>
    ids && [...new Set(ids.map((id) => wholeId(id, flag, spec.exec_id, entries, tombstones)))];
  return {
    queue: spec.queue,
    after: whole('--after', spec.after),
    after_any: whole('--after-any', spec.after_any),
    worktree: spec.worktree,
  };
}

function wholeId(
  wanted: string,
  flag: string,
  execId: string,
  entries: Entries,
  tombstones: Tombstones,
): string {
  if (entries.find(wanted) || tombstones.get(wanted)) return wanted;
  const found = entries
    .all()
    .map(({ folder }) => folder.id)
    .filter((id) => id.startsWith(wanted));
  if (found[0] !== undefined && found.length === 1) return found[0];
  const details = { exec_id: execId, sent: 'no', facts: { predecessor: wanted } } as const;
  if (found.length > 1)
    throw new RemoteError('ambiguous_id', `${flag} ${wanted} matches more than one exec`, {
      ...details,
      hint: `give more of the id: ${found.slice(0, 5).join(', ')}`,
    });
  throw new RemoteError(
    'exec_not_found',
    `exec_id not found: ${wanted}, which ${flag} names, is not known on the machine`,
    {
      ...details,
      hint: 'a predecessor is an exec of the same machine; `codex-remote exec list` shows them',
    },
  );
}
