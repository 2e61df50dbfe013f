import { type ExecState, isEnded, type WorktreeState } from '@codex-remote/protocol/schema';

/** What an exec asked to wait for, ids whole. */
export interface Waits {
  readonly queue?: string | undefined;
  readonly after?: readonly string[] | undefined;
  readonly after_any?: readonly string[] | undefined;
  /** The workspace that it is to run in, if it is one. */
  readonly worktree?: Pick<WorktreeState, 'project' | 'workspace'> | undefined;
}

/** Whether an exec may start as far as its predecessors go. */
export type Dependency =
  | { readonly kind: 'met' }
  | { readonly kind: 'open'; readonly ids: readonly string[] }
  /** One in `after` will never have exited with 0. */
  | { readonly kind: 'failed'; readonly detail: string };

/**
 * What is known of an exec. Undefined: not known any more; it has ended, since nothing is forgotten before, but nobody can
 * say how. `unread`: its folder cannot be read now.
 */
export type StateOf = (id: string) => ExecState | 'unread' | undefined;

/** Pure, and asked anew each time: what it says can change from open to one of the others only. */
export function dependencyOf(waits: Waits, stateOf: StateOf): Dependency {
  const open = new Set<string>();
  for (const id of waits.after ?? []) {
    const state = stateOf(id);
    if (state === 'unread' || (state && !isEnded(state))) open.add(id);
    else if (!succeeded(state)) return { kind: 'failed', detail: failureOf(id, state) };
  }
  for (const id of waits.after_any ?? []) {
    const state = stateOf(id);
    if (state === 'unread' || (state && !isEnded(state))) open.add(id);
  }
  return open.size > 0 ? { kind: 'open', ids: [...open] } : { kind: 'met' };
}

/** What a caller would see as exit status 0: a job that was cancelled and exits 0 has not done its work. */
function succeeded(state: ExecState | undefined): boolean {
  return state?.status === 'finished' && state.reason === 'exited' && state.exit_code === 0;
}

function failureOf(id: string, state: ExecState | undefined): string {
  if (state?.status === 'lost') return `${id} was lost (${state.reason})`;
  if (state?.status !== 'finished') return `how ${id} ended is not known any more`;
  const how = state.reason === 'exited' ? '' : ` (${state.reason})`;
  return `${id} ended with exit code ${state.exit_code}${how}`;
}
