import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, lstatSync, mkdirSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cli, cliProgram, needs, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

/** Everything below a folder, the folder left out. */
function entriesIn(folder: string): { path: string; kind: string; mode: number }[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const path = join(entry.parentPath, entry.name);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (!stat || stat.isSymbolicLink()) return [];
    const kind = stat.isDirectory() ? 'folder' : stat.isSocket() ? 'socket' : 'file';
    return [{ path, kind, mode: stat.mode & 0o777 }];
  });
}

/** Tries all that a path could give, as whoever runs it; prints what worked. */
const attempts = `
const { readFileSync, readdirSync, writeFileSync, accessSync } = require('node:fs');
const { connect } = require('node:net');
const paths = JSON.parse(readFileSync(0, 'utf8'));
let left = paths.length;
const done = () => { if (--left === 0) process.exit(0); };
for (const { path, kind } of paths) {
  try { kind === 'folder' ? readdirSync(path) : readFileSync(path); console.log('read ' + path); } catch {}
  try { accessSync(path, 2); console.log('write ' + path); } catch {}
  if (kind !== 'socket') { done(); continue; }
  const socket = connect(path);
  socket.once('connect', () => { console.log('connect ' + path); socket.destroy(); done(); });
  socket.once('error', done);
}
`;

describe('started under umask 000, with a descriptor left open', () => {
  const inherited = 200;
  let cli: Cli;
  let careless: Cli;
  let open: string;

  beforeEach((context) => needs(context, 'root'));
  beforeAll(async () => {
    cli = await Cli.open();
    // Others get as far as our home: what is in it has to keep them out by itself.
    chmodSync(cli.home, 0o755);
    open = join(cli.home, 'open');
    writeFileSync(open, 'of the caller', { mode: 0o600 });
    const script = `umask 000; exec ${inherited}<${open}; exec "$@"`;
    careless = cli.using(['bash', '-c', script, 'bash', cliProgram]);
    expect(await careless.json(['machine', 'up', 'local'])).toMatchObject({ ok: true });
    await careless.json(['machine', 'set', 'local', '--queue', 'q=0']);
    const job = ['--env', 'A_TOKEN=secret-value', '--stdin', open];
    await careless.run(['exec', 'run', '-m', 'local', '--id', 'ended', ...job, '--cmd', 'cat; echo >&2 x']);
    await careless.json([
      'exec',
      'start',
      '-m',
      'local',
      '--id',
      'waits',
      '--queue',
      'q',
      ...job,
      '--cmd',
      'x',
    ]);
    const script2 = join(cli.home, 'script');
    writeFileSync(script2, 'umask; ls -l /proc/self/fd; exec sleep 600\n');
    await careless.json(['exec', 'start', '-m', 'local', '--id', 'runs', '--script', script2]);
    await waitFor(
      'its output',
      async () => String((await cli.json(['exec', 'result', '--id', 'runs'])).stdout_bytes) !== '0',
    );
  });
  afterAll(async () => {
    await cli?.run(['exec', 'cancel', '--id', 'runs', '--signal', 'KILL']);
    await cli?.close();
  });

  const ours = () =>
    entriesIn(cli.home).filter(({ path }) => ![open, join(cli.home, 'script')].includes(path));

  test('every folder is 0700, every file and socket 0600, on both sides [row 100]', () => {
    const entries = ours();
    for (const kind of ['folder', 'file', 'socket'])
      expect(entries.filter((entry) => entry.kind === kind).length).toBeGreaterThan(1);
    const names = entries.map(({ path }) => path.slice(cli.home.length));
    for (const part of [
      'queued/waits/request',
      'execs/ended/stdout',
      'history.sqlite',
      'key.pem',
      'api.sock',
    ])
      expect(names.some((name) => name.includes(part))).toBe(true);
    // Within its 0700 folder Node makes one more for itself, as the umask has it.
    const own = entries.filter(({ path }) => !/\/cache\/code\/v[^/]+$/.test(path));
    const open = own.filter(({ mode }) => (mode & 0o077) !== 0);
    expect(open.map(({ path, mode }) => `${mode.toString(8)} ${path}`)).toEqual([]);
  });

  test('another user reads nothing, writes nothing and connects to nothing [row 100]', async () => {
    const paths = ours();
    const child = spawn(
      'setpriv',
      ['--reuid', '65534', '--regid', '65534', '--clear-groups', process.execPath, '-e', attempts],
      { stdio: ['pipe', 'pipe', 'inherit'], cwd: '/', env: {} },
    );
    child.stdin.on('error', () => undefined);
    // What it may read, so that its failures are the system's answer and not its own: the open home itself.
    child.stdin.end(JSON.stringify([{ path: cli.home, kind: 'folder' }, ...paths]));
    const said: Buffer[] = [];
    child.stdout.on('data', (bytes: Buffer) => said.push(bytes));
    expect(await once(child, 'close')).toEqual([0, null]);
    expect(Buffer.concat(said).toString().trim().split('\n')).toEqual([`read ${cli.home}`]);
  });

  test('a job has the umask of its login, and 0, 1 and 2 [row 46] [row 100]', async () => {
    const { stdout } = await cli.run(['exec', 'logs', '--id', 'runs', '--raw', '--stream', 'stdout']);
    const [umask, ...listed] = stdout.toString().trim().split('\n');
    expect(umask).toBe('0022');
    const descriptors = listed.flatMap((line) => / (\d+) -> (.*)$/.exec(line)?.[0] ?? []);
    expect(descriptors.length).toBeGreaterThanOrEqual(3);
    expect(descriptors.filter((text) => text.includes(open))).toEqual([]);
  });

  test('what the caller had open is held by no process that stays [row 46]', () => {
    const holders = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          return readdirSync(`/proc/${pid}/fd`).some((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`) === open);
        } catch {
          return false;
        }
      });
    expect(holders).toEqual([]);
  });
});

describe('a home in a place that others can change', () => {
  test.each([
    ['of the controller', 'CODEX_REMOTE_HOME', ['machine', 'list']],
    ['of the agent', 'CODEX_REMOTE_AGENT_HOME', ['machine', 'up', 'local']],
  ] as const)(
    '%s is refused with the folder, and nothing is put there [row 100]',
    async (_whose, name, line) => {
      const cli = await Cli.open();
      try {
        chmodSync(cli.home, 0o755);
        const place = join(cli.home, 'open');
        mkdirSync(place);
        chmodSync(place, 0o777);
        const own = join(place, 'own');
        const flag = name === 'CODEX_REMOTE_AGENT_HOME' ? ['--agent-home', own] : [];
        const env: Record<string, string> = name === 'CODEX_REMOTE_HOME' ? { [name]: own } : {};
        const refused = await cli.json([...line, ...flag], 1, { env });
        expect(refused).toMatchObject({
          error: {
            code: 'state_unusable',
            message: expect.stringContaining(place),
            hint: expect.stringContaining('chmod'),
          },
        });
        expect(readdirSync(place)).toEqual([]);
      } finally {
        await cli.close();
      }
    },
  );

  test('a socket in a folder that others can change is not talked to [row 101]', async () => {
    const cli = await Cli.open();
    try {
      await cli.json(['controller', 'start']);
      chmodSync(join(cli.home, 'run'), 0o777);
      const refused = await cli.json(['machine', 'list'], 1);
      expect(refused).toMatchObject({
        error: { code: 'state_unusable', hint: expect.stringContaining('chmod 700') },
      });
      chmodSync(join(cli.home, 'run'), 0o700);
      expect(await cli.json(['machine', 'list'])).toMatchObject({ ok: true });
    } finally {
      await cli.close();
    }
  });
});
