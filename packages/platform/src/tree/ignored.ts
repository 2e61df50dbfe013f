import ignore, { type Ignore } from 'ignore';
import { type BytePath, parentPath, pathText } from './entry.ts';

/** A pattern as in a `.gitignore`, from the root of the tree. Of those that match, the last one counts. */
export interface FilterRule {
  readonly kind: 'exclude' | 'include';
  readonly pattern: string;
}

/** The text of a `.gitignore`, and the folder that it is in. */
export interface IgnoreFile {
  readonly folder: BytePath;
  readonly text: string;
}

const options = { ignorecase: false, allowRelativePaths: true } as const;

/** What a caller leaves out and takes in by name; it wins over every `.gitignore`. */
export class Filter {
  readonly #rules: Ignore | undefined;
  /** What `include` names with a folder, name by name. */
  readonly #reached: (readonly string[])[] = [];

  constructor(rules: readonly FilterRule[]) {
    if (rules.length === 0) return;
    this.#rules = ignore(options);
    for (const { kind, pattern } of rules) {
      this.#rules.add({ pattern: kind === 'exclude' ? pattern : `!${pattern}` });
      const names = pattern.split('/').filter((name) => name !== '');
      if (kind === 'include' && names.length > 1) this.#reached.push(names);
    }
  }

  verdict(path: BytePath, directory: boolean): FilterRule['kind'] | undefined {
    if (!this.#rules) return undefined;
    const { ignored, unignored } = this.#rules.test(asTested(path, directory));
    return ignored ? 'exclude' : unignored ? 'include' : undefined;
  }

  /** Whether `include` names something in a folder: it is looked into although git ignores it. */
  reaches(folder: BytePath): boolean {
    if (this.#reached.length === 0) return false;
    const names = pathText(folder).split('/');
    return this.#reached.some((wanted) => {
      for (const [at, name] of names.entries()) {
        const pattern = wanted[at];
        if (pattern === '**') return true;
        // The last name is what is taken in; what is below it comes with it.
        if (pattern === undefined) return true;
        if (!ignore(options).add({ pattern }).ignores(name)) return false;
      }
      return true;
    });
  }
}

/** What the `.gitignore` files of a tree leave out, as git reads them: the nearest file that says something counts. */
export class IgnoreFiles {
  readonly #files = new Map<BytePath, Ignore>();

  constructor(files: readonly IgnoreFile[] = []) {
    for (const { folder, text } of files) this.add(folder, text);
  }

  add(folder: BytePath, text: string): void {
    this.#files.set(folder, ignore(options).add(text));
  }

  /** For a walk that has left it. */
  forget(folder: BytePath): void {
    this.#files.delete(folder);
  }

  /** Of a name itself: that a folder above it is left out is for the caller to see. */
  ignores(path: BytePath, directory: boolean): boolean {
    if (this.#files.size === 0) return false;
    for (let folder = parentPath(path); ; folder = parentPath(folder)) {
      const file = this.#files.get(folder);
      if (file) {
        const inside = folder === '' ? path : path.slice(folder.length + 1);
        const { ignored, unignored } = file.test(asTested(inside, directory));
        if (ignored) return true;
        if (unignored) return false;
      }
      if (folder === '') return false;
    }
  }
}

function asTested(path: BytePath, directory: boolean): string {
  return directory ? `${pathText(path)}/` : pathText(path);
}
