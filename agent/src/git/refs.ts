/** Where the refs of ours are in a mirror: what is reachable from them is never pruned. */
const root = 'refs/codex-remote';

/** Commits that were sent, by time: `received/<epoch ms>-<first digits>`. */
export const receivedRefs = `${root}/received`;
/** What each exec runs at, for as long as the exec is known. */
export const execRefs = `${root}/execs`;
/** What each exec left, once that was looked at. */
export const resultRefs = `${root}/results`;
/** What was fetched from a URL. */
export const fetchedRefs = `${root}/fetched`;

/** An id may hold what a name of a ref must not, as `..` and a last `.lock`; it never holds a plus. */
export function execRef(id: string): string {
  return `${execRefs}/${id.replaceAll('.', '+')}`;
}

export function resultRef(id: string): string {
  return `${resultRefs}/${id.replaceAll('.', '+')}`;
}

/** The exec of a ref under `execRefs` or `resultRefs`. */
export function execOfRef(ref: string): string {
  return ref.slice(ref.lastIndexOf('/') + 1).replaceAll('+', '.');
}

/** For names that sort by time. */
export function receivedRef(epochMs: number, commit: string): string {
  return `${receivedRefs}/${String(Math.trunc(epochMs)).padStart(15, '0')}-${commit.slice(0, 12)}`;
}
