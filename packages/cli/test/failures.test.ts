import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { StandInController } from '@codex-remote/client/testing';
import { type ErrorCode, encodeRecord, errorKinds, RemoteError } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { failureOf, stderrLine } from '../src/errors.ts';
import { commandLine } from '../src/shell-quote.ts';
import { installedCli, type Ran, type RunOptions, runCli } from './support/cli.ts';

const cli = installedCli();
let controller: StandInController;
beforeEach(async () => {
  controller = await new StandInController().listen();
});
afterEach(() => controller[Symbol.asyncDispose]());

function run(args: readonly string[], options: Partial<RunOptions> = {}): Promise<Ran> {
  return runCli(cli, args, { home: controller.home, ...options });
}

type Failure = { ok: boolean; error: Record<string, unknown>; next_action: string; next_command: string };

test.each([
  ['unknown_machine', 'unknown machine nowhere', 'unknown machine'],
  ['connection_reset', 'connection reset by peer: box', 'connection reset by peer'],
  ['unauthorized', 'unauthorized: the key of box', 'unauthorized'],
  ['exec_not_found', 'exec_id not found: x', 'exec_id not found'],
  ['machine_offline', 'machine offline: box, since 3 s', 'machine offline'],
  ['conflict', 'conflict: x exists', 'conflict'],
] as const)(
  '%s: the words on stdout as JSON and on one line of stderr, with a hint',
  async (code, message, words) => {
    controller.answers.push({
      path: /./,
      answer: () => Promise.reject(new RemoteError(code, message, { machine: 'box' })),
    });
    const ran = await run(['exec', 'result', 'x']);
    const [failure] = ran.json as Failure[];
    expect(ran.status).toBe(1);
    expect(failure).toMatchObject({
      ok: false,
      error: { code, machine: 'box', retryable: errorKinds[code].retryable },
    });
    expect(failure?.error.message).toContain(words);
    expect(String(failure?.error.hint).length).toBeGreaterThan(10);
    expect(failure?.next_command).toMatch(/^codex-remote /);
    expect(ran.stderr.split('\n')).toHaveLength(2);
    expect(ran.stderr).toContain(words);
    for (const stream of ['run', 'watch'] as const) {
      const streamed = await run(
        stream === 'run' ? ['exec', 'run', '-m', 'box', '--cmd', 'x'] : ['exec', 'watch', 'x'],
      );
      expect([streamed.status, streamed.json.at(-1)?.type]).toEqual([255, 'error']);
    }
  },
);

test.each(['run', 'start'])(
  'exec %s that may have started something is to be repeated only with an id: without one it would run twice',
  async (verb) => {
    const lost = new RemoteError('machine_offline', 'machine offline: box', { sent: 'unknown' });
    controller.answers.push({ method: 'POST', path: /execs$/, answer: () => Promise.reject(lost) });
    const line = ['exec', verb, '-m', 'box', '--cmd', 'x'];
    const [without, withId] = [await run(line), await run([...line, '--id', 'own'])];
    expect(without.json.at(-1)).toMatchObject({ error: { sent: 'unknown', retryable: false } });
    expect(withId.json.at(-1)).toMatchObject({ error: { sent: 'unknown', retryable: true, exec_id: 'own' } });
  },
);

test('a start that failed has its id, what was sent, and the line to repeat', async () => {
  controller.answers.push({
    path: /./,
    answer: () => Promise.reject(new RemoteError('machine_offline', 'machine offline: box')),
  });
  const [failure] = (await run(['exec', 'start', '-m', 'box', '--cmd', "echo 'a b'"])).json as Failure[];
  expect(failure?.error).toMatchObject({ sent: 'no', exec_id: expect.stringMatching(/^[a-z0-9]{20}$/) });
  expect(failure?.next_command).toBe(
    `codex-remote exec start -m box --cmd 'echo '\\''a b'\\''' --id ${failure?.error.exec_id}`,
  );
});

test('a start whose answer was lost may have been sent: look at its result', async () => {
  controller.answers.push({
    method: 'POST',
    path: /execs$/,
    answer: ({ message }) => void message.socket.destroy(),
  });
  const [failure] = (await run(['exec', 'start', '-m', 'box', '--cmd', 'true', '--id', 'gone']))
    .json as Failure[];
  expect(failure).toMatchObject({
    error: { sent: 'unknown', exec_id: 'gone' },
    next_action: 'wait',
    next_command: 'codex-remote exec result --id gone',
  });
});

test('wrong usage: 2, at most 600 bytes on each stream, nothing sent', async () => {
  for (const args of [
    ['exec', 'run', `--${'x'.repeat(5000)}`],
    ['exec', 'run', '--timeout', 'y'.repeat(5000)],
    ['z'.repeat(5000)],
    ['exec', 'q'.repeat(5000)],
    ['exec', 'result', 'A'.repeat(5000)],
    ['exec', 'logs', 'x', '--grep', '('.repeat(5000)],
  ]) {
    const ran = await run(args);
    expect([ran.status, (ran.json[0] as Failure | undefined)?.error.code]).toEqual([2, 'usage']);
    expect(Buffer.byteLength(ran.stdout)).toBeLessThanOrEqual(600);
    expect(Buffer.byteLength(ran.stderr)).toBeLessThanOrEqual(600);
  }
  expect(controller.requests).toEqual([]);
});

test('--debug adds a stack, otherwise there is none', async () => {
  expect(((await run(['exec', 'result', 'x', '--debug'])).json[0] as Failure).error.stack).toContain(
    '\n    at ',
  );
  expect((await run(['exec', 'result', 'x'])).stdout).not.toContain('    at ');
});

test('facts of a failure stand in the error, and remote text in it cannot act on a terminal [row 97]', async () => {
  controller.answers.push({
    path: /./,
    answer: () =>
      Promise.reject(
        new RemoteError('exec_removed', 'gone \u001b[31m\u202e', {
          exec_id: 'x',
          facts: { removed_at: '2026-01-01T00:00:00Z' },
        }),
      ),
  });
  const ran = await run(['exec', 'logs', 'x']);
  expect((ran.json[0] as Failure).error).toMatchObject({
    code: 'exec_removed',
    removed_at: '2026-01-01T00:00:00Z',
  });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must be gone
  expect(ran.stdout + ran.stderr).not.toMatch(/[\u001b\u202e]/);
});

test('every code of the registry gives a next action, a command and one line', () => {
  for (const code of Object.keys(errorKinds) as ErrorCode[]) {
    const failure = failureOf(new RemoteError(code, 'it\nfailed', { machine: 'box' }), {
      args: ['exec', 'list'],
      stream: false,
      debug: false,
    });
    expect(failure.next_command, code).toMatch(/^codex-remote [a-z-]/);
    expect(failure.next_command, code).not.toMatch(/undefined|NAME|FINGERPRINT/);
    expect(stderrLine(failure)).not.toContain('\n');
  }
});

test('a line to repeat gets its --id before the --', () => {
  expect(commandLine(['exec', 'run', '-m', 'a', '--', 'echo', 'a b'], 'i')).toBe(
    "codex-remote exec run -m a --id i -- echo 'a b'",
  );
  expect(commandLine(['exec', 'run', '--id=i', '--cmd', 'x'], 'i')).toBe(
    'codex-remote exec run --id=i --cmd x',
  );
  expect(commandLine(['exec', 'run', '--cmd', 'a\nb'], 'i')).toBe('codex-remote exec result --id i');
});

test('a word in CODEX_REMOTE_OUTPUT that is none is wrong usage', async () => {
  expect((await run(['exec', 'list'], { env: { CODEX_REMOTE_OUTPUT: 'xml' } })).status).toBe(2);
});

test.runIf(process.getuid?.() === 0)(
  'a socket that the system refuses is sandbox_denied, and no controller is started',
  async () => {
    chmodSync(join(controller.home, 'run'), 0o700);
    for (const folder of [cli, join(cli, 'dist'), controller.home]) chmodSync(folder, 0o755);
    const args = [
      '--reuid',
      '65534',
      '--regid',
      '65534',
      '--clear-groups',
      process.execPath,
      join(cli, 'dist/boot.cjs'),
      'exec',
      'run',
      '-m',
      'box',
      '--cmd',
      'true',
    ];
    const ran = spawnSync('setpriv', args, {
      env: { CODEX_REMOTE_HOME: controller.home, HOME: '/', PATH: process.env.PATH },
      encoding: 'utf8',
    });
    const failure = JSON.parse(ran.stdout);
    expect([ran.status, failure.error.code, failure.error.sent]).toEqual([255, 'sandbox_denied', 'no']);
    expect(failure.error.hint).toContain('MCP');
    expect(ran.stderr.split('\n')).toHaveLength(2);
  },
);

test.runIf(process.getuid?.() === 0)('folders that cannot be made are the sandbox’s as well', async () => {
  const home = join(controller.home, 'closed');
  mkdirSync(home, { mode: 0o700 });
  for (const folder of [cli, join(cli, 'dist'), controller.home]) chmodSync(folder, 0o755);
  const args = [
    '--reuid',
    '65534',
    '--regid',
    '65534',
    '--clear-groups',
    process.execPath,
    join(cli, 'dist/boot.cjs'),
    'machine',
    'list',
  ];
  const ran = spawnSync('setpriv', args, {
    env: { CODEX_REMOTE_HOME: join(controller.home, 'x'), HOME: '/', PATH: process.env.PATH },
    encoding: 'utf8',
  });
  expect([ran.status, JSON.parse(ran.stdout).error.code]).toEqual([1, 'sandbox_denied']);
});

test('only a start is repeated with its --id; what took the id already is not given it twice', async () => {
  controller.answers.push({
    path: /./,
    answer: () =>
      Promise.reject(
        new RemoteError('machine_offline', 'machine offline: box', {
          machine: 'box',
          exec_id: 'x',
          sent: 'no',
        }),
      ),
  });
  for (const verb of ['result', 'cancel', 'watch', 'wait', 'logs']) {
    const [failure] = (await run(['exec', verb, 'x'])).json as Failure[];
    expect(failure?.next_command).toBe('codex-remote machine up -m box');
  }
});

test('a run that was started and lost its machine is looked at, not sent again', async () => {
  const lost = new RemoteError('machine_offline', 'machine offline: box', { machine: 'box', sent: 'no' });
  const view = {
    machine: 'box',
    machine_connected: true,
    ssh_ok: null,
    state: {
      exec_id: 'x',
      digest: 'd',
      mode: 'run',
      command: 'sleep 9',
      accepted_at: '2026-01-01T00:00:00.000Z',
      status: 'running',
      stdout_bytes: 0,
      stderr_bytes: 0,
    },
  };
  controller.answers.push({
    method: 'POST',
    path: /execs$/,
    answer: (_asked, response) => {
      response.writeHead(200, { connection: 'close' });
      response.write(encodeRecord({ kind: 'event', value: { started: { view, attached: false } } }));
      response.end(encodeRecord({ kind: 'event', value: { error: lost.toWire() } }));
    },
  });
  const ran = await run(['exec', 'run', '-m', 'box', '--id', 'x', '--cmd', 'sleep 9']);
  expect(ran.json.at(-1)).toMatchObject({
    error: { exec_id: 'x', sent: 'yes' },
    next_action: 'wait',
    next_command: 'codex-remote exec result --id x',
  });
});

test.each([
  [['exec', 'run', '--env', 'a b', '-m', 'box', '--cmd', 'x'], 'exec run'],
  [['exec', 'run', '--script', '/nonexistent', '-m', 'box'], 'exec run'],
  [['exec', 'logs', 'x', '--cursor', 'nonsense'], 'exec logs'],
  [['exec', 'logs', 'x', '--max-bytes', '0'], 'exec logs'],
  [['exec', 'list', '--limit', '0'], 'exec list'],
  [['exec', 'list', '--limit', '10001'], 'exec list'],
])('wrong usage points to the help of the command: %j', async (args, command) => {
  const ran = await run(args);
  expect(ran.status).toBe(2);
  expect(ran.json[0]).toMatchObject({
    error: { code: 'usage' },
    next_command: `codex-remote ${command} --help`,
  });
  expect(controller.requests).toEqual([]);
});
