import { execFileSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Git } from '@codex-remote/platform/git';
import type { ChangedFile } from '@codex-remote/protocol/schema';
import { type Applied, type ApplyOrder, applyToTree } from '../../src/apply/index.ts';

const statuses = { A: 'added', D: 'deleted', M: 'modified', T: 'type_changed' } as const;

/** A repository here, and a tree of a machine that began as the same commit. */
export class TwoTrees {
  readonly dir: string;
  readonly here: string;
  readonly there: string;
  #commit = '';

  private constructor(dir: string) {
    this.dir = dir;
    this.here = join(dir, 'here');
    this.there = join(dir, 'there');
  }

  /** `fill` makes the files of the commit. */
  static async open(
    fill: (root: string) => void | Promise<void>,
    { format = 'sha1' }: { readonly format?: 'sha1' | 'sha256' } = {},
  ): Promise<TwoTrees> {
    const trees = new TwoTrees(mkdtempSync(join(tmpdir(), 'cr-apply-')));
    run(trees.dir, 'init', '-q', `--object-format=${format}`, trees.here);
    await fill(trees.here);
    run(trees.here, 'add', '-A', '-f');
    run(trees.here, '-c', 'user.name=a', '-c', 'user.email=a@b.c', 'commit', '-qm', 'begin', '--allow-empty');
    trees.#commit = run(trees.here, 'rev-parse', 'HEAD').trim();
    run(trees.dir, 'clone', '-q', trees.here, trees.there);
    return trees;
  }

  /** What was changed there since, ignored files among it. */
  result(): { files: ChangedFile[]; patch: Buffer } {
    run(this.there, '-c', 'core.autocrlf=false', 'add', '-A', '-f');
    const tree = run(this.there, 'write-tree').trim();
    const words = runBytes(this.there, 'diff-tree', '-r', '-z', '--raw', '--no-renames', this.#commit, tree)
      .toString('latin1')
      .split('\0')
      .filter(Boolean)
      .slice(-2e6);
    const files: ChangedFile[] = [];
    for (let at = 0; at + 1 < words.length; at += 2) {
      const [oldMode = '', new_mode = '', old_id = '', new_id = '', status = ''] = (words[at] ?? '').split(
        ' ',
      );
      const old_mode = oldMode.slice(1);
      files.push({
        path_b64: Buffer.from(words[at + 1] ?? '', 'latin1').toString('base64'),
        status: statuses[status as keyof typeof statuses],
        ...(old_mode !== '000000' && { old_mode, old_id }),
        ...(new_mode !== '000000' && { new_mode, new_id }),
      });
    }
    const args = ['diff-tree', '-r', '-p', '--binary', '--full-index', '--no-renames', this.#commit, tree];
    return { files, patch: runBytes(this.there, ...args) };
  }

  apply(order: Partial<ApplyOrder> = {}): Promise<Applied> {
    const { files, patch } = this.result();
    return applyToTree(new Git(), {
      execId: 'x1',
      dir: this.here,
      commits: [this.#commit],
      files,
      patch: async function* () {
        yield patch;
      },
      allowAutorun: false,
      dryRun: false,
      ...order,
    });
  }

  close(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export function run(cwd: string, ...args: string[]): string {
  return runBytes(cwd, ...args).toString('latin1');
}

function runBytes(cwd: string, ...args: string[]): Buffer {
  return execFileSync('git', args, {
    cwd,
    env: { PATH: process.env.PATH, HOME: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' },
    maxBuffer: 1024 ** 3,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** Everything below `root` but git's own: what kind it is, whether it may be executed, and its content. */
export function treeOf(root: string): Record<string, string> {
  const tree: Record<string, string> = {};
  const walk = (dir: Buffer, name: string): void => {
    for (const entry of readdirSync(dir, { encoding: 'buffer' })) {
      const path = Buffer.concat([dir, Buffer.from('/'), entry]);
      const shown = `${name}${entry.toString('latin1')}`;
      if (shown === '.git') continue;
      const stat = lstatSync(path);
      if (stat.isDirectory()) {
        tree[`${shown}/`] = 'folder';
        walk(path, `${shown}/`);
      } else if (stat.isSymbolicLink()) tree[shown] = `-> ${readlinkSync(path)}`;
      else tree[shown] = `${stat.mode & 0o100 ? 'x' : '-'} ${readFileSync(path).toString('latin1')}`;
    }
  };
  walk(Buffer.from(root), '');
  return tree;
}
