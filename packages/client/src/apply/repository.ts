import { realpathSync } from 'node:fs';
import type { Git, GitCall } from '@codex-remote/platform/git';
import { RemoteError } from '@codex-remote/protocol/wire';

interface Settings {
  /** The execute bit counts. */
  readonly fileMode: boolean;
  /** Names that differ in upper case alone are the same file. */
  readonly ignoreCase: boolean;
  readonly hooksPath: string | undefined;
  /** Programs that convert contents, by name. */
  readonly filters: readonly string[];
}

/** A repository of this host with files in it, and how its user has set it up. */
export class Repository {
  readonly git: Git;
  /** The top of the tree, without links on the way. */
  readonly root: string;
  /** Its own, where it is one of several worktrees. */
  readonly gitDir: string;
  readonly objects: string;
  readonly format: 'sha1' | 'sha256';
  readonly settings: Settings;

  /** The one that `dir` lies in. Throws `not_repository`, `git_missing`. */
  static async open(git: Git, dir: string): Promise<Repository> {
    const ask = (...args: string[]) =>
      git.line({ args: ['rev-parse', '--path-format=absolute', ...args], cwd: dir, userConfig: true });
    const root = await ask('--show-toplevel').catch((error: unknown) => {
      const failure = RemoteError.from(error);
      if (failure.code !== 'git_failed') throw failure;
      const said = String(failure.details.facts?.git_stderr ?? '').split('\n')[0] ?? '';
      throw new RemoteError('not_repository', `no git repository with a tree at ${dir}: ${said}`, {
        sent: 'no',
        hint: 'give the repository that the exec came from with --dir',
      });
    });
    const [gitDir, objects, format] = await Promise.all([
      ask('--git-dir'),
      ask('--git-path', 'objects'),
      ask('--show-object-format'),
    ]);
    const settings = await readSettings(git, root);
    return new Repository(git, {
      root: realpathSync(root),
      gitDir,
      objects,
      format: format === 'sha256' ? 'sha256' : 'sha1',
      settings,
    });
  }

  private constructor(
    git: Git,
    found: Pick<Repository, 'root' | 'gitDir' | 'objects' | 'format' | 'settings'>,
  ) {
    this.git = git;
    this.root = found.root;
    this.gitDir = found.gitDir;
    this.objects = found.objects;
    this.format = found.format;
    this.settings = found.settings;
  }

  async has(commit: string): Promise<boolean> {
    const { code } = await this.git.ask({ args: ['cat-file', '-e', `${commit}^{commit}`], cwd: this.root });
    return code === 0;
  }

  /**
   * A call that reads or writes files of the tree as the user's own git does: line ends are converted, and no program that
   * converts contents is run.
   */
  treeCall(call: GitCall): GitCall {
    const off = Object.fromEntries(
      this.settings.filters.flatMap((name) => [
        ...['clean', 'smudge', 'process'].map((field) => [`filter.${name}.${field}`, '']),
        [`filter.${name}.required`, 'false'],
      ]),
    );
    return {
      ...call,
      cwd: this.root,
      userConfig: true,
      config: { 'core.safecrlf': 'false', ...off, ...call.config },
    };
  }
}

async function readSettings(git: Git, root: string): Promise<Settings> {
  const args = ['config', '-z', '--show-scope', '--list'];
  const words = (await git.run({ args, cwd: root, userConfig: true })).toString('utf8').split('\0');
  const values = new Map<string, string>();
  const filters = new Set<string>();
  for (let at = 0; at + 1 < words.length; at += 2) {
    // Ours, not the user's.
    if (words[at] === 'command') continue;
    const [name = '', ...value] = (words[at + 1] ?? '').split('\n');
    values.set(name, value.join('\n'));
    const filter = /^filter\.(.*)\.[^.]*$/s.exec(name)?.[1];
    if (filter !== undefined) filters.add(filter);
  }
  const odd = [...filters].find((name) => /[=\n]/.test(name));
  if (odd !== undefined)
    throw new RemoteError(
      'usage',
      `the filter ${JSON.stringify(odd)} of the repository cannot be turned off`,
      {
        sent: 'no',
        hint: 'give it a name without = and newlines',
      },
    );
  return {
    fileMode: values.get('core.filemode') !== 'false',
    ignoreCase: values.get('core.ignorecase') === 'true',
    hooksPath: values.get('core.hookspath'),
    filters: [...filters],
  };
}
