import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliDecompressSync } from 'node:zlib';

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
  changeAgent(change: (text: string) => string): Promise<void> {
    return this.change('agent.mjs', change);
  }

  async change(bundle: 'agent.mjs' | 'controller.mjs', change: (text: string) => string): Promise<void> {
    const path = join(this.#dir, 'dist', bundle);
    const before = await readFile(path, 'utf8');
    const after = change(before);
    if (after === before) throw new Error(`${bundle} stayed as it was`);
    await writeFile(path, after);
  }

  /** `machine up` brings the agent of 0.1.0, which `test/fixtures` keeps. */
  async bringOldAgent(): Promise<void> {
    const kept = join(root, 'test/fixtures/agent-0.1.0');
    const packed = await readFile(join(kept, 'agent.mjs.br'));
    await writeFile(join(this.#dir, 'dist/agent.mjs'), brotliDecompressSync(packed));
    await cp(join(kept, 'shim.sh'), join(this.#dir, 'dist/shim.sh'));
  }

  close(): Promise<void> {
    return rm(this.#dir, { recursive: true, force: true });
  }
}
