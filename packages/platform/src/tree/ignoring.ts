import { absoluteOf, type BytePath, bytePath, type IgnoreText, systemPath } from './entry.ts';
import { below, gitIgnored } from './git-ignored.ts';
import { readIgnoreFile } from './ignore-texts.ts';
import { Filter, type FilterRule, IgnoreFiles } from './ignored.ts';

export interface IgnoreOptions {
  /** What `.gitignore` files and git leave out is left out. */
  readonly ignore: boolean;
  readonly rules?: readonly FilterRule[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * How a name is taken. `freed`: ignored, and taken in by name, with all that is in it. `pass`: an ignored folder that is looked
 * into for what is taken in by name, and else left out.
 */
export type Taken = 'in' | 'freed' | 'pass';

/** What git says of one repository of the tree. */
interface Repository {
  readonly root: BytePath;
  readonly ignored: ReadonlySet<BytePath>;
}

/**
 * What of a tree is left out, asked by a walk: `enter` for each folder before its names, `leave` behind them. Inside a
 * repository git itself says what is ignored, for each repository that lies in the tree anew; elsewhere the `.gitignore`
 * files that are there.
 */
export class Ignoring {
  readonly #root: BytePath;
  readonly #options: IgnoreOptions;
  readonly #filter: Filter;
  readonly #inherited = new IgnoreFiles();
  readonly #files = new IgnoreFiles();
  readonly #repositories: Repository[] = [];

  /** `root`: absolute. */
  constructor(root: BytePath, options: IgnoreOptions) {
    this.#root = root;
    this.#options = options;
    this.#filter = new Filter(options.rules ?? []);
  }

  /** Before the walk. */
  async start(): Promise<void> {
    if (this.#options.ignore) await this.#ask('');
  }

  /** `names`: what the folder holds. Gives a promise only where git is to be asked. */
  enter(folder: BytePath, names: readonly BytePath[]): Promise<void> | undefined {
    if (!this.#options.ignore) return undefined;
    if (folder !== '' && names.includes('.git')) return this.#ask(folder);
    if (this.#repository(folder) === undefined && names.includes('.gitignore'))
      this.#files.add(folder, {
        text: readIgnoreFile(absoluteOf(this.#root, folder)) ?? '',
        prefix: '',
      });
    return undefined;
  }

  /** What is ignored at the other side of a sync counts here as well. */
  inherit(folder: BytePath, rules: IgnoreText): void {
    if (this.#options.ignore) this.#inherited.add(folder, rules);
  }

  leave(folder: BytePath): void {
    this.#files.forget(folder);
    this.#inherited.forget(folder);
    if (folder !== '' && this.#repositories.at(-1)?.root === folder) this.#repositories.pop();
  }

  /** `folder`: how the one that the name is in was taken, `in` for the tree itself. */
  verdict(path: BytePath, directory: boolean, folder: Taken): Taken | 'out' {
    const asked = this.#filter.verdict(path, directory);
    if (asked === 'exclude') return 'out';
    if (folder !== 'pass' && (folder === 'freed' || !this.#ignored(path, directory))) return folder;
    if (asked === 'include') return 'freed';
    return directory && this.#filter.reaches(path) ? 'pass' : 'out';
  }

  #ignored(path: BytePath, directory: boolean): boolean {
    if (!this.#options.ignore) return false;
    if (this.#inherited.ignores(path, directory)) return true;
    const repository = this.#repository(path);
    return repository ? repository.ignored.has(path) : this.#files.ignores(path, directory);
  }

  #repository(path: BytePath): Repository | undefined {
    return this.#repositories.findLast(
      ({ root }) => root === '' || path === root || path.startsWith(`${root}/`),
    );
  }

  async #ask(folder: BytePath): Promise<void> {
    const absolute = absoluteOf(this.#root, folder);
    const path = systemPath(absolute);
    // A working directory is text to Node: in a folder whose name is none, its own `.gitignore` files must do.
    const ignored =
      typeof path === 'string' || bytePath(path.toString()) === absolute
        ? await gitIgnored(path.toString(), this.#options.signal)
        : undefined;
    if (!ignored) return;
    const names = folder === '' ? ignored : below(folder, ignored);
    this.#repositories.push({ root: folder, ignored: names });
  }
}
