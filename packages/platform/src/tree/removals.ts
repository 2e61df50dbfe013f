import type { Action } from './action.ts';
import { absoluteOf, type BytePath, childPath } from './entry.ts';
import type { Ignoring, Taken } from './ignoring.ts';
import { treeLimits } from './limits.ts';
import { lookAt, typeOf } from './look.ts';
import { isGitName, isStagingName } from './names.ts';
import { namesOf } from './scan.ts';
import { goesOn } from './slice.ts';
import { errnoOf, overLimit } from './tree-error.ts';

/**
 * What goes of a name that is not to be there: never what git keeps, what is ignored, a device, or a repository with what is
 * in it; nor the folders on the way to such a thing.
 */
export class Removals {
  readonly #root: BytePath;
  readonly #ignoring: Ignoring;
  readonly #signal: AbortSignal | undefined;

  constructor(root: BytePath, ignoring: Ignoring, signal: AbortSignal | undefined) {
    this.#root = root;
    this.#ignoring = ignoring;
    this.#signal = signal;
  }

  /** Says what is done for `name` in `folder`, content before its folder. True: nothing of it stays. */
  async remove(
    folder: BytePath,
    name: BytePath,
    taken: Taken,
    say: (action: Action) => void,
    depth = 0,
  ): Promise<boolean> {
    if (depth > treeLimits.maxDepth) throw overLimit('folders in folders', treeLimits.maxDepth);
    if (isGitName(name) || isStagingName(name)) return false;
    const path = childPath(folder, name);
    const stat = lookAt(absoluteOf(this.#root, path));
    if (!stat) return true;
    const type = typeOf(stat);
    const verdict = this.#ignoring.verdict(path, type === 'directory', taken);
    if (verdict === 'out' || verdict === 'pass' || type === 'other') return false;
    if (type === 'directory' && !(await this.#empty(path, verdict, say, depth))) return false;
    say({ do: 'remove', path, type });
    return true;
  }

  async #empty(path: BytePath, taken: Taken, say: (action: Action) => void, depth: number): Promise<boolean> {
    goesOn(this.#signal);
    let names: readonly BytePath[];
    try {
      names = namesOf(absoluteOf(this.#root, path));
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      say({ do: 'skip', path, why: 'it cannot be read: it is not removed' });
      return false;
    }
    if (names.some(isGitName)) {
      say({ do: 'skip', path, why: 'it is a git repository: those are not removed' });
      return false;
    }
    await this.#ignoring.enter(path, names);
    let all = true;
    for (const name of names) if (!(await this.remove(path, name, taken, say, depth + 1))) all = false;
    this.#ignoring.leave(path);
    return all;
  }
}
