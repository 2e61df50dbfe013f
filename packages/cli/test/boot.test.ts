import {
  chmodSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { StandInController } from '@codex-remote/client/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { installedCli, runProgram } from './support/cli.ts';

const cli = installedCli();
let controller: StandInController;
beforeEach(async () => {
  controller = await new StandInController().listen();
  controller.answers.push({ path: /./, answer: async () => ({ execs: [], total: 0, more: false }) });
});
afterEach(() => controller[Symbol.asyncDispose]());

function boot(...args: string[]) {
  const env = { PATH: '', HOME: controller.home, CODEX_REMOTE_HOME: controller.home };
  return runProgram(process.execPath, [join(cli, 'dist/boot.cjs'), ...args], { env });
}

function kept(): string[] {
  try {
    return readdirSync(join(controller.home, 'cache/code'), { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => join(controller.home, 'cache/code', name));
  } catch {
    return [];
  }
}

test('compiled code is kept after the first run of a verb and used by the next', async () => {
  const first = await boot('exec', 'list');
  expect(first).toMatchObject({ status: 0, stdout: '{"ok":true,"execs":[],"total":0,"more":false}\n' });
  const [file = ''] = kept();
  const code = readFileSync(file);
  expect(file).toMatch(/-exec-list$/);
  expect(await boot('exec', 'list')).toEqual(first);
  expect(kept()).toEqual([file]);
  expect(readFileSync(file).equals(code)).toBe(true);
});

test('a Node that is too old is refused, in JSON and for people', async () => {
  const preload = join(controller.home, 'old.cjs');
  writeFileSync(preload, "Object.defineProperty(process.versions, 'node', { value: '22.1.0' });");
  const args = ['-r', preload, join(cli, 'dist/boot.cjs'), 'exec', 'list'];
  const { status, stdout, stderr } = await runProgram(process.execPath, args, {
    env: { HOME: controller.home },
  });
  expect([status, JSON.parse(stdout).error.code]).toEqual([1, 'runtime_unsupported']);
  expect(stderr).toContain('needs Node.js 24 or later, this is 22.1.0');
});

test.each([
  [['exec', 'run', '--nonsense', '--dst', '--help']],
  [['exec', 'run', '-m', 'box', '--timeout', 'x', '--cmd', 'true']],
  [['exec', 'run', '--help']],
  [['exec', 'wait', '--hepl']],
  [['exec', 'start', '-m', 'box', '--id', 'x', '--project', 'app', '--cmd', 'true']],
  [['exec', 'list', '--limit', '3']],
  [['exec', 'list'], { CODEX_REMOTE_OUTPUT: 'nonsense' }],
])('the hot program and the whole one answer %j alike', async (args, more: Record<string, string> = {}) => {
  const env = { PATH: '', HOME: controller.home, CODEX_REMOTE_HOME: controller.home, ...more };
  const whole = `process.argv[1] = ${JSON.stringify(join(cli, 'dist/boot.cjs'))}; require(${JSON.stringify(join(cli, 'dist/cli.cjs'))}).main(${JSON.stringify(args)})`;
  const [hot, all] = await Promise.all([
    runProgram(process.execPath, [join(cli, 'dist/boot.cjs'), ...args], { env }),
    runProgram(process.execPath, ['-e', whole, ...args], { env }),
  ]);
  expect(hot).toEqual(all);
  expect(hot.stdout).not.toBe('');
});

test('each of the two bundles has its own code', async () => {
  await boot('exec', 'list');
  await boot('file', 'list', '-m', 'box', '/');
  const text = (name: string) => readFileSync(join(cli, 'dist', name), 'latin1');
  expect(kept()).toHaveLength(2);
  // Whoever is not hot is in the larger one alone.
  expect([text('hot.cjs').includes('file list'), text('cli.cjs').includes('file list')]).toEqual([
    false,
    true,
  ]);
});

test.each([
  ['cut', (code: Buffer) => code.subarray(0, code.length / 2)],
  ['empty', () => Buffer.alloc(0)],
  ['of zeros', (code: Buffer) => Buffer.alloc(code.length)],
])('kept code that is %s is not used, and made again', async (_, damaged) => {
  const first = await boot('exec', 'list');
  const [file = ''] = kept();
  const code = readFileSync(file);
  writeFileSync(file, damaged(code));
  expect(await boot('exec', 'list')).toEqual(first);
  expect(readFileSync(file).length).toBeGreaterThan(code.length / 2);
});

test.each([
  [['exec', 'lsit']],
  [['exec', 'list', '--help']],
  [['exec', '../x']],
  [['exec', 'start', '-m', 'box', '--project', 'app', '--cmd', 'true']],
])('nothing is kept of %j', async (args) => {
  await boot(...args);
  expect(kept()).toEqual([]);
});

test('code in a folder that others can write to is not run, and none is kept there [row 100]', async () => {
  const folder = join(controller.home, 'cache/code');
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o777);
  expect(await boot('exec', 'list')).toMatchObject({ status: 0 });
  expect(kept()).toEqual([]);
  chmodSync(folder, 0o755);
  await boot('exec', 'list');
  expect(kept()).toHaveLength(1);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
});

test.skipIf(process.getuid?.() !== 0)(
  'a slash at its end does not hide whose link a home is [row 100]',
  async () => {
    const linked = join(controller.home, 'linked');
    symlinkSync(controller.home, linked);
    lchownSync(linked, 65_534, 65_534);
    const env = { PATH: '', HOME: controller.home, CODEX_REMOTE_HOME: `${linked}/` };
    await runProgram(process.execPath, [join(cli, 'dist/boot.cjs'), 'exec', 'list'], { env });
    expect(kept()).toEqual([]);
  },
);
