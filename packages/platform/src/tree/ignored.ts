import ignore, { type Ignore } from 'ignore';
import { type BytePath, childPath, type IgnoreText, parentPath, pathText } from './entry.ts';

/** A pattern as in a `.gitignore`, from the root of the tree. Of those that match, the last one counts. */
export interface FilterRule {
  readonly kind: 'exclude' | 'include';
  readonly pattern: string;
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
  readonly #files = new Map<BytePath, { readonly prefix: BytePath; readonly says: Ignore }[]>();

  /** Those of one folder come in the order in which they count. */
  add(folder: BytePath, { text, prefix }: IgnoreText): void {
    const files = this.#files.get(folder) ?? [];
    files.push({ prefix, says: ignore(options).add(text) });
    this.#files.set(folder, files);
  }

  /** For a walk that has left it. */
  forget(folder: BytePath): void {
    this.#files.delete(folder);
  }

  /** Also what lies in a folder that is left out, as far as the same file says so. */
  ignores(path: BytePath, directory: boolean): boolean {
    if (this.#files.size === 0) return false;
    for (let folder = parentPath(path); ; folder = parentPath(folder)) {
      const inside = folder === '' ? path : path.slice(folder.length + 1);
      for (const { prefix, says } of this.#files.get(folder) ?? []) {
        const { ignored, unignored } = says.test(asTested(childPath(prefix, inside), directory));
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
