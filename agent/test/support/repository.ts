import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { WorktreeSpec } from '@codex-remote/protocol/schema';
import type { PackBody } from '../../src/git/receive-pack.ts';

/** A real repository of a user, in `path`. */
export class Repository {
  readonly path: string;

  constructor(path: string, format: 'sha1' | 'sha256' = 'sha1') {
    this.path = path;
    mkdirSync(path, { recursive: true });
    this.git('init', '-q', '-b', 'main', `--object-format=${format}`);
  }

  git(...args: readonly string[]): string {
    return execFileSync('git', args, { cwd: this.path, env, maxBuffer: 1 << 28 })
      .toString('utf8')
      .trimEnd();
  }

  write(files: Readonly<Record<string, string | Buffer>>): void {
    for (const [name, content] of Object.entries(files)) {
      const path = join(this.path, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
    }
  }

  /** The id of a commit of all that is there. */
  commit(files: Readonly<Record<string, string | Buffer>> = {}): string {
    this.write(files);
    this.git('add', '--all');
    this.git('commit', '-q', '--allow-empty', '-m', 'a commit');
    return this.git('rev-parse', 'HEAD');
  }

  tree(commit: string): string {
    return this.git('rev-parse', `${commit}^{tree}`);
  }

  /** What of `commit` is not reachable from `known`. */
  pack(commit: string, known: readonly string[] = []): Buffer {
    const input = [commit, ...known.map((id) => `^${id}`)].map((line) => `${line}\n`).join('');
    const args = ['pack-objects', '--revs', '--thin', '--stdout', '-q'];
    return execFileSync('git', args, { cwd: this.path, env, input, maxBuffer: 1 << 28 });
  }

  spec(commit: string, more: Partial<WorktreeSpec> = {}): WorktreeSpec {
    return { project: 'site', ref: 'main', commit, tree: this.tree(commit), dirty: false, ...more };
  }
}

const env = {
  PATH: process.env.PATH,
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'a',
  GIT_AUTHOR_EMAIL: 'a@b',
  GIT_COMMITTER_NAME: 'a',
  GIT_COMMITTER_EMAIL: 'a@b',
  GIT_CONFIG_COUNT: '1',
  GIT_CONFIG_KEY_0: 'protocol.file.allow',
  GIT_CONFIG_VALUE_0: 'always',
};

/** A packfile that comes in pieces; `between` is called before each of them. */
export function packBody(
  pack: Buffer,
  between: (at: number) => void | Promise<void> = () => undefined,
): PackBody {
  return {
    async *pieces() {
      for (let at = 0; at < pack.byteLength; at += 65_000) {
        await between(at);
        yield pack.subarray(at, at + 65_000);
      }
    },
    whole: () => ({ bytes: pack.byteLength, sha256: createHash('sha256').update(pack).digest('hex') }),
  };
}
