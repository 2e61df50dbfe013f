import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ControllerClient, controllerEnvironment, replaces, startController } from '../src/index.ts';

let home: string;
const pids = () =>
  existsSync(join(home, 'pids'))
    ? readFileSync(join(home, 'pids'), 'utf8').trim().split('\n').map(Number)
    : [];

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'cr-start-'));
});
afterEach(() => {
  for (const pid of pids()) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended already.
    }
  }
  rmSync(home, { recursive: true, force: true });
});

/** A program that answers on the socket when nobody else does, as controllers settle it by their lock. */
function program(body = ''): readonly [string, ...string[]] {
  const path = join(home, 'controller.mjs');
  writeFileSync(
    path,
    `import { createServer } from 'node:http'; import { appendFileSync, mkdirSync } from 'node:fs';
     appendFileSync(${JSON.stringify(join(home, 'pids'))}, process.pid + '\\n');
     ${body}
     try { mkdirSync(${JSON.stringify(join(home, 'lock'))}); } catch { process.exit(0); }
     const status = { running: true, pid: process.pid, version: '9.9.9', build: 'b2', socket: '', started_at: new Date().toISOString(), machines_connected: 0, cwd: process.cwd(), argv: process.argv, env: process.env.CODEX_REMOTE_MACHINE ?? null };
     createServer((request, response) => { response.setHeader('x-codex-remote-build', 'b2'); response.end(JSON.stringify(request.url === '/v1/machines' ? { machines: [] } : status)); }).listen(${JSON.stringify(join(home, 'run', 'api.sock'))});`,
  );
  return [process.execPath, path];
}

const paths = () => ({
  socket: join(home, 'run', 'api.sock'),
  runtime: join(home, 'run'),
  state: join(home, 'state'),
  log: join(home, 'state', 'controller.log'),
});

function failure(promise: Promise<unknown>): Promise<RemoteError> {
  return promise.then(
    () => Promise.reject(new Error('it did not fail')),
    (error: unknown) => (error instanceof RemoteError ? error : Promise.reject(error)),
  );
}

test('a request starts a controller when none runs, in a session of its own', async () => {
  const start = () =>
    startController({
      paths: paths(),
      program: program(),
      env: { ...process.env, CODEX_REMOTE_MACHINE: 'x' },
    });
  const client = new ControllerClient({ socket: paths().socket, start });
  expect(await client.machines()).toEqual([]);
  const [pid] = pids();
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const session = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[3]);
  expect(session).toBe(pid);
  expect(readFileSync(`/proc/${pid}/environ`, 'utf8')).not.toContain('CODEX_REMOTE_MACHINE=');
});

test('many at once start one, and all are answered', async () => {
  const start = () => startController({ paths: paths(), program: program(), env: process.env });
  const clients = Array.from({ length: 8 }, () => new ControllerClient({ socket: paths().socket, start }));
  expect(await Promise.all(clients.map((client) => client.machines()))).toEqual(clients.map(() => []));
  expect(pids()).toHaveLength(1);
});

test('of many, each is told why its own did not start', async () => {
  const start = () =>
    startController({ paths: paths(), program: program('process.exit(3);'), env: process.env });
  const failures = await Promise.all(
    Array.from({ length: 4 }, () =>
      failure(new ControllerClient({ socket: paths().socket, start }).machines()),
    ),
  );
  for (const { code, message } of failures) {
    expect(code).toBe('controller_unreachable');
    expect(message).toContain('exit code 3');
  }
  expect(pids()).toHaveLength(4);
});

test('one that loses to a controller on its way out is followed by the next', async () => {
  mkdirSync(join(home, 'lock'));
  const start = () => startController({ paths: paths(), program: program(), env: process.env });
  const asked = new ControllerClient({ socket: paths().socket, start }).machines();
  await expect.poll(pids).toHaveLength(1);
  rmSync(join(home, 'lock'), { recursive: true });
  expect(await asked).toEqual([]);
  expect(pids().length).toBeGreaterThan(1);
});

test('one that fails is told with its log, soon', async () => {
  const start = () =>
    startController({ paths: paths(), program: program('process.exit(7);'), env: process.env });
  const error = await failure(new ControllerClient({ socket: paths().socket, start }).machines());
  expect([error.code, error.details.sent]).toEqual(['controller_unreachable', 'no']);
  expect(error.message).toContain('exit code 7');
  expect(error.details.hint).toContain(paths().log);
});

test('status never starts one', async () => {
  const error = await failure(
    new ControllerClient({
      socket: paths().socket,
      start: () => Promise.reject(new Error('started')),
    }).status(),
  );
  expect(error.code).toBe('controller_unreachable');
});

test('of the environment, what belongs to one command line stays behind', () => {
  expect(
    controllerEnvironment({
      HOME: '/h',
      CODEX_REMOTE_MACHINE: 'a',
      CODEX_REMOTE_SESSION: 's',
      CODEX_REMOTE_HOME: '/c',
      NONE: undefined,
    }),
  ).toEqual({ HOME: '/h', CODEX_REMOTE_HOME: '/c' });
});

const started = { build: 'b1', version: '1.2.3', startedMs: 1000 };
test.each([
  ['the same build', { build: 'b1', version: '9.0.0', installedMs: 5000 }, false],
  ['a later version', { build: 'b2', version: '1.10.0', installedMs: 0 }, true],
  ['an earlier version installed later', { build: 'b2', version: '1.2.2', installedMs: 5000 }, false],
  ['a release after its pre-release', { build: 'b2', version: '1.2.3', installedMs: 0 }, false],
  [
    'the same version, built and installed after it started',
    { build: 'b2', version: '1.2.3', installedMs: 5000 },
    true,
  ],
  ['the same version from an older installation', { build: 'b2', version: '1.2.3', installedMs: 500 }, false],
])('a controller gives way to %s: %#', (_name, own, expected) => {
  expect(replaces(own, started)).toBe(expected);
  expect(
    replaces({ build: 'b2', version: '1.2.3', installedMs: 0 }, { ...started, version: '1.2.3-beta.1' }),
  ).toBe(true);
});

test('ours is started in place of an older controller, as the successor of exactly that build', async () => {
  const asked: unknown[] = [];
  const { StandInController } = await import('./support/index.ts');
  await using old = await new StandInController().listen();
  const client = new ControllerClient({
    socket: old.socket,
    own: { version: '0.0.2', build: 'new', installedMs: () => 1 },
    start: async (replaced) => void asked.push(replaced),
  });
  await client.connection.replaceOlder();
  expect(asked).toEqual([]);
  await client.machines();
  await client.connection.replaceOlder();
  expect(asked).toEqual(['stand-in']);
});
