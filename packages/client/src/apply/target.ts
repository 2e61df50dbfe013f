import { realpathSync } from 'node:fs';
import type { Git, GitCall } from '@codex-remote/platform/git';
import { RemoteError } from '@codex-remote/protocol/wire';
import { Repository } from '../git/repository.ts';

/** How its user has set a repository up, as far as it matters to what is written into it. */
interface Settings {
  /** The execute bit counts. */
  readonly fileMode: boolean;
  /** Names that differ in upper case alone are the same file. */
  readonly ignoreCase: boolean;
  /** Where hooks are, as it is written there. */
  readonly hooksPath: string | undefined;
}

/** The tree of a repository of this host that something is made of. */
export class Target {
  readonly git: Git;
  /** The top, without links on the way. */
  readonly root: string;
  readonly repository: Repository;
  readonly settings: Settings;

  /** The one that `dir` lies in. Throws as `Repository.find`, and `not_repository` for one without files. */
  static async find(git: Git, dir: string): Promise<Target> {
    const repository = await Repository.find(dir, git);
    const { root } = repository;
    if (root === undefined)
      throw new RemoteError('not_repository', `the repository of ${dir} has no working tree`, {
        sent: 'no',
        hint: 'name a folder with its files',
      });
    return new Target(repository, realpathSync(root), await readSettings(repository));
  }

  private constructor(repository: Repository, root: string, settings: Settings) {
    this.git = repository.git;
    this.repository = repository;
    this.root = root;
    this.settings = settings;
  }

  async has(commit: string): Promise<boolean> {
    return (await this.repository.commit(commit).catch(() => undefined))?.commit === commit;
  }

  /**
   * A call that reads or writes files as the user's own git does: line ends are converted, and no program that converts
   * contents is run. `more` has the arguments.
   */
  async treeCall(more: GitCall): Promise<GitCall> {
    const call = await this.repository.call();
    return { ...call, ...more, config: { 'core.safecrlf': 'false', ...call.config, ...more.config } };
  }
}

async function readSettings({ git, gitDir }: Repository): Promise<Settings> {
  const args = ['config', '-z', '--show-scope', '--list'];
  const words = (await git.run({ args, gitDir, userConfig: true })).toString('utf8').split('\0');
  const values = new Map<string, string>();
  for (let at = 0; at + 1 < words.length; at += 2) {
    // Ours, not the user's.
    if (words[at] === 'command') continue;
    const [name = '', ...value] = (words[at + 1] ?? '').split('\n');
    values.set(name, value.join('\n'));
  }
  return {
    fileMode: values.get('core.filemode') !== 'false',
    ignoreCase: values.get('core.ignorecase') === 'true',
    hooksPath: values.get('core.hookspath'),
  };
}
