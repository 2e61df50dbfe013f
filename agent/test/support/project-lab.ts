import { join } from 'node:path';
import type { ExecSpec, WorktreeSpec } from '@codex-remote/protocol/schema';
import type { ExecStoreOptions } from '../../src/store/store.ts';
import { packBody, Repository } from './repository.ts';
import { type Finished, finished, StoreLab } from './store-lab.ts';

/** A store, and a repository whose commits it gets. */
export class ProjectLab extends StoreLab {
  readonly repository: Repository;

  constructor(options: Partial<ExecStoreOptions> = {}) {
    super({ spares: 0, ...options });
    this.repository = new Repository(join(this.home, 'user/site'));
  }

  /** A commit that the machine has. */
  async commit(files: Readonly<Record<string, string | Buffer>> = {}): Promise<string> {
    const commit = this.repository.commit(files);
    await this.send(commit);
    return commit;
  }

  /** All of it. */
  send(commit: string, repository = this.repository): Promise<void> {
    return this.sendOnly(commit, [], repository);
  }

  /** Without what is reachable from `known`. */
  async sendOnly(commit: string, known: readonly string[], repository = this.repository): Promise<void> {
    await this.store.git.projects.receive(
      {
        ...{ project: 'site', commit, shallow: [] },
        object_format: commit.length === 64 ? 'sha256' : 'sha1',
      },
      packBody(repository.pack(commit, known)),
      new AbortController().signal,
    );
  }

  /** What an exec at `commit` printed, once it has ended. */
  async runAt(
    commit: string,
    cmd: string,
    worktree: Partial<WorktreeSpec> = {},
    spec: Partial<ExecSpec> = {},
  ): Promise<Finished & { out: string }> {
    const state = await this.run(cmd, { ...spec, worktree: this.repository.spec(commit, worktree) });
    return { ...finished(state), out: this.read(state.exec_id) };
  }

  at(...path: readonly string[]): string {
    return join(this.home, ...path);
  }
}
