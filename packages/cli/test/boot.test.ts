import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
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
