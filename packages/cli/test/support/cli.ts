import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { afterAll } from 'vitest';

const sources = join(import.meta.dirname, '../../src');
const launcher = join(import.meta.dirname, '../../bin/codex-remote');

/** The package as it is installed: launcher and both bundles, without a node_modules beside it. Removed after the file. */
export function installedCli(): string {
  const root = mkdtempSync(join(tmpdir(), 'cr-cli-'));
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  mkdirSync(join(root, 'bin'));
  copyFileSync(launcher, join(root, 'bin/codex-remote'));
  const common = {
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    // boot.cjs compiles two of them as scripts, which cannot import.
    supported: { 'dynamic-import': false },
    logLevel: 'error',
  } as const;
  for (const [source, bundle] of [
    ['boot.ts', 'boot.cjs'],
    ['hot-main.ts', 'hot.cjs'],
    ['main.ts', 'cli.cjs'],
    ['oclif/main.ts', 'oclif.cjs'],
    ['sync-main.ts', 'sync.cjs'],
  ] as const) {
    const define = { __CODEX_REMOTE_HOT__: '"test"', __CODEX_REMOTE_CLI__: '"test"' };
    buildSync({
      ...common,
      define,
      entryPoints: [join(sources, source)],
      outfile: join(root, 'dist', bundle),
    });
  }
  return root;
}

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout as JSON, a value a line. */
  readonly json: Record<string, unknown>[];
}

export interface RunOptions {
  readonly home: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** What the CLI's stdin holds; absent = a pipe that stays open, so that reading it would hang. */
  readonly input?: string | Uint8Array;
  readonly onChild?: (child: ChildProcess) => void;
}

/** Runs a program in the background of this process, where the stand-in lives, and gives what it wrote. */
export function runProgram(
  command: string,
  args: readonly string[],
  options: { env: Readonly<Record<string, string>>; input?: string },
): Promise<Omit<Ran, 'json'>> {
  const child = spawn(command, args, { env: options.env, stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.on('error', () => {});
  child.stdin.end(options.input ?? '');
  return finished(child);
}

/** Starts the bundle with a clean environment. The caller ends it, or it ends by itself. */
export function startCli(
  root: string,
  args: readonly string[],
  { home, env, cwd }: RunOptions,
): ChildProcess {
  const clean = { PATH: process.env.PATH ?? '', HOME: home, CODEX_REMOTE_HOME: home, ...env };
  return spawn(process.execPath, [join(root, 'dist/boot.cjs'), ...args], {
    env: clean,
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(cwd === undefined ? {} : { cwd }),
  });
}

export function runCli(root: string, args: readonly string[], options: RunOptions): Promise<Ran> {
  const child = startCli(root, args, options);
  options.onChild?.(child);
  if (options.input !== undefined) child.stdin?.end(options.input);
  child.stdin?.on('error', () => {});
  return finished(child).then((ran) => ({ ...ran, json: jsonLines(ran.stdout) }));
}

function finished(child: ChildProcess): Promise<Omit<Ran, 'json'>> {
  const pieces = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  child.stdout?.on('data', (chunk: Buffer) => pieces.stdout.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => pieces.stderr.push(chunk));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => {
      resolve({
        status,
        stdout: Buffer.concat(pieces.stdout).toString(),
        stderr: Buffer.concat(pieces.stderr).toString(),
      });
    });
  });
}

function jsonLines(text: string): Record<string, unknown>[] {
  return text.split('\n').flatMap((line) => {
    try {
      return line === '' ? [] : [JSON.parse(line)];
    } catch {
      return [];
    }
  });
}
