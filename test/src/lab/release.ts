import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../../..');

/** An installation of its own, built from these sources as another version. Gone after `close`. */
export class Release {
  /** What a user would call. */
  readonly program: readonly [string];
  readonly #dir: string;

  private constructor(dir: string) {
    this.#dir = dir;
    this.program = [join(dir, 'bin/codex-remote')];
  }

  static async build(version: string): Promise<Release> {
    const dir = await mkdtemp(join(tmpdir(), 'crr-'));
    await cp(join(root, 'packages/cli/bin'), join(dir, 'bin'), { recursive: true });
    // Where the launcher and the controller look for the pinned Node.
    await symlink(join(root, 'node_modules'), join(dir, 'node_modules'));
    const script = join(root, 'scripts/build.ts');
    // Not the Node that runs the tests: that may be an older one.
    await run(join(root, 'node_modules/.bin/node'), [
      script,
      '--out',
      join(dir, 'dist'),
      '--version',
      version,
    ]);
    return new Release(dir);
  }

  /** Changes the agent that `machine up` of this release brings. */
  async changeAgent(change: (text: string) => string): Promise<void> {
    const path = join(this.#dir, 'dist/agent.mjs');
    const before = await readFile(path, 'utf8');
    const after = change(before);
    if (after === before) throw new Error('the agent stayed as it was');
    await writeFile(path, after);
  }

  close(): Promise<void> {
    return rm(this.#dir, { recursive: true, force: true });
  }
}
