import { type ChildProcess, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { chmod, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Cli, type CliOptions, cliProgram, freePort, needs, TcpProxy, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

type Json = Record<string, unknown>;

/** On the host of the controller, which listens for the network with `controller serve`. */
let owner: Cli;
/** On another host: it has token files, and no controller. */
let away: Cli;
let port: number;
let serving: ChildProcess;

beforeAll(async () => {
  owner = await Cli.open();
  away = await Cli.open();
  port = await freePort();
  serving = await serve();
  await owner.json(['machine', 'up', 'local']);
  await owner.json(['machine', 'add', 'box', '--ssh', 'nobody@192.0.2.1']);
});
afterAll(async () => {
  await owner?.close();
  await away?.close();
});

async function serve(): Promise<ChildProcess> {
  const at = ['--listen', `127.0.0.1:${port}`, '--public-url', `https://127.0.0.1:${port}`];
  const child = owner.spawn(['controller', 'serve', ...at]);
  const [line] = await once(createInterface(child.stdout), 'line');
  expect(JSON.parse(String(line))).toMatchObject({ ok: true, public_url: `https://127.0.0.1:${port}` });
  return child;
}

let files = 0;
/** A token file as its owner makes it, and what a CLI elsewhere is started with. */
async function token(...flags: string[]): Promise<{ id: string; file: string; with: CliOptions }> {
  const file = join(owner.home, `token-${files++}`);
  const made = await owner.json(['token', 'create', ...flags, '--output', file]);
  return { id: String(made.id), file, with: { env: { CODEX_REMOTE_TOKEN_FILE: file } } };
}

const scopes = (...names: string[]): string[] => names.flatMap((name) => ['--scope', name]);
const codeOf = (answer: Json): unknown => (answer.error as Json | undefined)?.code;

describe('a token file', () => {
  test('is all that another host needs, and its secret is nowhere else', async () => {
    const { file, id } = await token(...scopes('machines:read'), '--label', 'a laptop');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const held = JSON.parse(readFileSync(file, 'utf8')) as Json;
    expect(held).toEqual({
      url: `https://127.0.0.1:${port}`,
      token: expect.stringMatching(/^[0-9a-z]{20}\.[\w-]{43}$/),
      spki_sha256: [expect.stringMatching(/^[\w+/]{43}=$/)],
      certificates: [expect.stringContaining('BEGIN CERTIFICATE')],
    });
    const secret = String(held.token).split('.')[1] ?? '';
    const { tokens } = await owner.json(['token', 'list']);
    expect(tokens).toContainEqual(expect.objectContaining({ id, label: 'a laptop', status: 'active' }));
    expect(JSON.stringify(tokens)).not.toContain(secret);
    for (const name of await readdir(owner.home, { recursive: true }))
      if (statSync(join(owner.home, name)).isFile() && join(owner.home, name) !== file)
        expect([name, readFileSync(join(owner.home, name), 'latin1').includes(secret)]).toEqual([
          name,
          false,
        ]);
  });

  test('is not written over another file, and then no token is made', async () => {
    const before = (await owner.json(['token', 'list'])).tokens as Json[];
    const file = join(owner.home, 'taken');
    await writeFile(file, 'mine');
    const said = await owner.json(['token', 'create', ...scopes('admin'), '--output', file], 2);
    expect(codeOf(said)).toBe('usage');
    expect(readFileSync(file, 'utf8')).toBe('mine');
    expect((await owner.json(['token', 'list'])).tokens).toHaveLength(before.length);
  });

  test('that finds no room on the disk is no token', async (context) => {
    needs(context, 'prlimit');
    const before = (await owner.json(['token', 'list'])).tokens as Json[];
    const run = owner.using(['prlimit', '--fsize=100', '--', cliProgram]);
    const file = join(owner.home, 'cut');
    const { status } = await run.run(['token', 'create', ...scopes('admin'), '--output', file]);
    expect([status, existsSync(file)]).toEqual([1, false]);
    const made = ((await owner.json(['token', 'list'])).tokens as Json[]).slice(before.length);
    expect(made).toMatchObject([{ status: 'revoked' }]);
  });

  test('is left unmade where the scope is none, and nothing stays on disk', async () => {
    const file = join(owner.home, 'none');
    const said = await owner.json(['token', 'create', ...scopes('exec:write'), '--output', file], 2);
    expect(codeOf(said)).toBe('usage');
    expect(existsSync(file)).toBe(false);
    const near = await owner.json(['token', 'create', ...scopes('exec:run:loacl')], 1);
    expect(near).toMatchObject({ error: { code: 'unknown_machine', nearest: ['local'] } });
  });

  test('that others can read is not used', async () => {
    const { file, with: it } = await token(...scopes('machines:read'));
    await chmod(file, 0o644);
    const said = await away.json(['machine', 'list'], 1, it);
    expect(said).toMatchObject({ error: { code: 'unauthorized', message: expect.stringContaining('0644') } });
    expect(codeOf(await away.json(['exec', 'run', '-m', 'local', '--cmd', 'true'], 255, it))).toBe(
      'unauthorized',
    );
    await away.json(['version'], 0, it);
  });

  test('in a variable does the same', async () => {
    const { file } = await token(...scopes('machines:read'));
    const env = { CODEX_REMOTE_TOKEN: readFileSync(file, 'utf8') };
    expect(await away.json(['machine', 'show', 'local'], 0, { env })).toMatchObject({ connected: true });
    const printed = await owner.run(['token', 'create', ...scopes('machines:read')]);
    const line = { CODEX_REMOTE_TOKEN: printed.stdout.toString() };
    expect(await away.json(['machine', 'show', 'local'], 0, { env: line })).toMatchObject({
      connected: true,
    });
  });
});

test('who may only read sees everything and changes nothing', async () => {
  const { with: it } = await token(...scopes('machines:read', 'logs:read'));
  const { exec_id: id } = await owner.json(['exec', 'start', '-m', 'local', '--cmd', 'echo seen; exit 4']);
  expect(await away.json(['exec', 'wait', '--id', String(id)], 4, it)).toMatchObject({
    stdout_tail: 'seen\n',
  });
  expect(await away.lines(['exec', 'logs', '--id', String(id)], 0, it)).toMatchObject([{ line: 'seen' }]);
  expect((await away.lines(['exec', 'watch', '--id', String(id)], 4, it)).at(-1)).toMatchObject({
    type: 'finished',
    exit_code: 4,
  });
  expect((await away.json(['exec', 'list'], 0, it)).total).toBeGreaterThan(0);
  expect((await away.json(['machine', 'list'], 0, it)).machines).toHaveLength(2);
  expect(await away.json(['machine', 'check', 'local'], 0, it)).toMatchObject({ daemon_ok: true });
  const status = await away.json(['controller', 'status'], 0, it);
  expect(status).toMatchObject({ running: true, url: `https://127.0.0.1:${port}` });
  expect(JSON.stringify(status)).not.toContain(owner.home);

  const refused: [string[], number][] = [
    [['exec', 'run', '-m', 'local', '--cmd', 'touch no'], 255],
    [['exec', 'start', '-m', 'local', '--cmd', 'touch no'], 1],
    [['exec', 'cancel', '--id', String(id)], 1],
    [['machine', 'down', 'local'], 1],
    [['machine', 'remove', 'box'], 1],
    [['machine', 'set', 'local', '--queue', 'a=1'], 1],
    [['token', 'list'], 1],
    [['token', 'create', '--scope', 'admin'], 1],
  ];
  for (const [args, exit] of refused) {
    const said = await away.run(args, it);
    const last = JSON.parse(said.stdout.toString().trim().split('\n').at(-1) ?? '') as Json;
    expect([args, said.status, codeOf(last)]).toEqual([args, exit, 'forbidden']);
  }
  expect((await owner.json(['machine', 'list'])).machines).toHaveLength(2);
});

describe('who may run on one machine', () => {
  test('runs there as if it were here, and reads what ran', async () => {
    const { with: it } = await token(...scopes('exec:run:local'));
    const ran = await away.lines(
      ['exec', 'run', '-m', 'local', '--cmd', 'echo out; echo err >&2; exit 7'],
      7,
      it,
    );
    expect(
      ran
        .map((line) => line.line)
        .filter(Boolean)
        .sort(),
    ).toEqual(['err', 'out']);
    expect(ran.at(-1)).toMatchObject({ type: 'finished', exit_code: 7, machine: 'local' });
    const input = 'from another host\n';
    const piped = await away.run(['exec', 'run', '-m', 'local', '--raw', '--stdin', '-', '--', 'cat'], {
      ...it,
      input,
    });
    expect(piped.stdout.toString()).toBe(input);
    const { exec_id: id } = await away.json(['exec', 'start', '-m', 'local', '--cmd', 'sleep 600'], 0, it);
    expect(await away.json(['exec', 'cancel', '--id', String(id), '--grace', '0'], 0, it)).toMatchObject({
      reason: 'cancelled',
    });
    const { machines } = await away.json(['machine', 'list'], 0, it);
    expect(machines).toMatchObject([{ machine: 'local' }]);
  });

  test('moves much there and back, exact', async () => {
    const { with: it } = await token(...scopes('exec:run:local'));
    const input = randomBytes(24 * 1024 * 1024);
    const args = ['exec', 'run', '-m', 'local', '--raw', '--stdin', '-', '--', 'cat'];
    const { stdout, status } = await away.run(args, { ...it, input });
    expect([status, stdout.equals(input)]).toEqual([0, true]);
  });

  test('runs its own code there, from the other host, as it is', async () => {
    const { with: it } = await token(...scopes('exec:run:local'));
    const code = join(away.home, 'code');
    execFileSync('git', ['init', '-q', code], { env: away.env });
    await writeFile(join(code, 'made here'), 'new\n');
    const args = [
      'exec',
      'run',
      '-m',
      'local',
      '--project',
      code,
      '--ref',
      'WORKTREE',
      '--raw',
      '--',
      'cat',
      'made here',
    ];
    const { stdout, stderr } = await away.run(args, it);
    expect([stdout.toString(), stderr]).toEqual(['new\n', '']);
    // A name is of the controller: its folders are of another host.
    execFileSync('git', ['init', '-q', join(owner.home, 'theirs')], { env: owner.env });
    await owner.json(['project', 'add', 'theirs', '--repo', join(owner.home, 'theirs')]);
    const named = ['exec', 'start', '-m', 'local', '--project', 'theirs', '--ref', 'HEAD', '--', 'true'];
    expect(codeOf(await away.json(named, 1, it))).toBe('not_repository');
    expect(JSON.stringify(await away.json(['project', 'list'], 0, it))).not.toContain(owner.home);
  });

  test('is told of another what it would be told of none', async () => {
    const { with: it } = await token(...scopes('exec:run:local'));
    const said = async (machine: string) => {
      const answer = await away.json(
        ['exec', 'start', '--id', 'same', '-m', machine, '--cmd', 'true'],
        1,
        it,
      );
      return JSON.stringify(answer).replaceAll(machine, 'X');
    };
    expect(await said('box')).toBe(await said('bax'));
    expect(await said('box')).toContain('unknown_machine');
  });

  test('does not see the execs of another', async () => {
    const { with: it } = await token(...scopes('exec:run', 'machines:read'), '-m', 'box');
    const { exec_id } = await owner.json(['exec', 'start', '-m', 'local', '--cmd', 'echo hidden']);
    const id = String(exec_id);
    await owner.json(['exec', 'wait', '--id', id]);
    expect(await away.json(['exec', 'list', '--since', '1h'], 0, it)).toMatchObject({ execs: [], total: 0 });
    for (const [args, exit] of [
      [['exec', 'result', '--id', id], 1],
      [['exec', 'result', '--id', id.slice(0, 12)], 1],
      [['exec', 'logs', '--id', id], 1],
      [['exec', 'watch', '--id', id], 255],
      [['exec', 'wait', '--id', id], 255],
      [['exec', 'cancel', '--id', id], 1],
    ] as const) {
      const { status, stdout } = await away.run(args, it);
      const last = JSON.parse(stdout.toString().trim().split('\n').at(-1) ?? '') as Json;
      expect([args, status, codeOf(last)]).toEqual([args, exit, 'exec_not_found']);
      expect(stdout.toString()).not.toContain('local');
    }
  });
});

/** A follower of a job that goes on until `file` is there. */
async function follower(it: CliOptions, name: string, args: readonly string[] = []) {
  const go = join(owner.home, `${name}.go`);
  const cmd = `echo begun; while [ ! -e ${go} ]; do sleep 0.05; done; echo done; exit 3`;
  const { exec_id } = await owner.json(['exec', 'start', '-m', 'local', '--cmd', cmd]);
  const child = away.spawn(['exec', 'watch', '--id', String(exec_id), ...args], it);
  const lines: Json[] = [];
  createInterface(child.stdout).on('line', (line) => lines.push(JSON.parse(line) as Json));
  const closed = once(child, 'close');
  await waitFor('the first line of output', () => lines.some(({ line }) => line === 'begun'));
  return { id: String(exec_id), lines, closed, end: () => writeFile(go, '') };
}

describe('a token that ends while it is used', () => {
  test('by revocation ends the follower at once and says why; the job goes on', async () => {
    const { id, with: it } = await token(...scopes('logs:read'));
    const other = await token(...scopes('logs:read'));
    const [ended, kept] = await Promise.all([follower(it, 'revoked'), follower(other.with, 'kept')]);
    await owner.json(['token', 'revoke', id]);
    const [status] = await ended.closed;
    expect([status, ended.lines.at(-1)?.type, codeOf(ended.lines.at(-1) ?? {})]).toEqual([
      255,
      'error',
      'unauthorized',
    ]);
    expect(codeOf(await away.json(['exec', 'result', '--id', ended.id], 1, it))).toBe('unauthorized');
    await ended.end();
    await owner.json(['exec', 'wait', '--id', ended.id], 3);
    await kept.end();
    expect((await kept.closed)[0]).toBe(3);
    const { tokens } = await owner.json(['token', 'list']);
    expect(tokens).toContainEqual(
      expect.objectContaining({ id, status: 'revoked', last_used_from: '127.0.0.1' }),
    );
  });

  test('by its time does the same', async () => {
    const { with: it } = await token(...scopes('logs:read'), '--ttl', '3s');
    const { closed, lines, end, id } = await follower(it, 'expired');
    expect((await closed)[0]).toBe(255);
    expect(codeOf(lines.at(-1) ?? {})).toBe('unauthorized');
    await end();
    await owner.json(['exec', 'wait', '--id', id], 3);
  });

  test('by the audit log is to be seen afterwards', async () => {
    const { id, with: it } = await token(...scopes('machines:read'));
    await away.json(['machine', 'list'], 0, it);
    await away.json(['exec', 'start', '-m', 'local', '--cmd', 'true'], 1, it);
    await owner.json(['token', 'revoke', id]);
    await away.json(['machine', 'list'], 1, it);
    const log = readFileSync(join(owner.home, 'state/controller.log'), 'utf8');
    expect(log).toContain('token_revoked');
    const files = await readdir(join(owner.home, 'state/audit'));
    const text = files.map((name) => readFileSync(join(owner.home, 'state/audit', name), 'utf8')).join('');
    const of = text.split('\n').filter((line) => line.includes(id));
    const verbs = of.map((line) => {
      const { verb, result, reason } = JSON.parse(line) as Json;
      return `${verb} ${result}${typeof reason === 'string' ? ` ${reason.split(':')[0]}` : ''}`;
    });
    expect(verbs).toEqual([
      'token.create done',
      'token.use done',
      'POST /v1/execs refused forbidden',
      'token.revoke done',
      'token.use refused token_revoked',
    ]);
  });
});

describe('a controller that is not the one of the token', () => {
  test('is told nothing: another pin, another certificate [row 80]', async () => {
    const { file } = await token(...scopes('admin'));
    const held = JSON.parse(readFileSync(file, 'utf8')) as Json;
    const wrong = { ...held, spki_sha256: [Buffer.alloc(32, 1).toString('base64')] };
    const env = { CODEX_REMOTE_TOKEN: JSON.stringify(wrong) };
    const said = await away.json(['machine', 'list'], 1, { env });
    expect(said).toMatchObject({ error: { code: 'certificate_mismatch', sent: 'no', retryable: false } });
    const other = await Cli.open();
    try {
      const otherPort = await freePort();
      const at = ['--listen', `127.0.0.1:${otherPort}`, '--public-url', `https://127.0.0.1:${otherPort}`];
      await other.json(['controller', 'start', ...at]);
      const mistaken = {
        env: { CODEX_REMOTE_TOKEN_FILE: file, CODEX_REMOTE_URL: `https://127.0.0.1:${otherPort}` },
      };
      expect(codeOf(await away.json(['machine', 'list'], 1, mistaken))).toBe('certificate_mismatch');
      expect(readFileSync(join(other.home, 'state/controller.log'), 'utf8')).not.toContain('token_');
    } finally {
      await other.close();
    }
  });

  test('or that is not there is unreachable, and none is started here', async () => {
    const { file } = await token(...scopes('admin'));
    const env = { CODEX_REMOTE_TOKEN_FILE: file, CODEX_REMOTE_URL: `https://127.0.0.1:${await freePort()}` };
    const said = await away.json(['machine', 'list'], 1, { env });
    expect(said).toMatchObject({
      error: { code: 'controller_unreachable', sent: 'no' },
      next_command: 'codex-remote controller status',
    });
  });
});

test('what is about the host of the controller says where to run it', async () => {
  const { with: it } = await token(...scopes('admin'));
  for (const args of [
    ['controller', 'start'],
    ['controller', 'stop'],
    ['controller', 'logs'],
    ['controller', 'serve'],
    ['controller', 'rotate-certificate'],
    ['machine', 'up', 'local'],
  ]) {
    const { status, stdout } = await away.run(args, it);
    const said = JSON.parse(stdout.toString()) as Json;
    expect([args, status, codeOf(said)]).toEqual([args, 1, 'forbidden']);
    expect(JSON.stringify(said)).toContain(`https://127.0.0.1:${port}`);
  }
  expect(serving.exitCode).toBeNull();
});

test('who may administer manages machines and tokens from elsewhere, and gives nothing that outlives its own', async () => {
  const { with: it } = await token(...scopes('admin'), '--ttl', '1h');
  await away.json(['machine', 'add', 'third', '--ssh', 'nobody@192.0.2.3'], 0, it);
  const file = join(away.home, 'made-elsewhere');
  const made = await away.json(['token', 'create', ...scopes('exec:run:local'), '--output', file], 0, it);
  expect(Date.parse(String(made.expires_at)) - Date.now()).toBeLessThanOrEqual(3_600_000);
  const env = { CODEX_REMOTE_TOKEN_FILE: file };
  await away.json(['exec', 'run', '-m', 'local', '--brief', '--', 'true'], 0, { env });
  expect(codeOf(await away.json(['token', 'create', ...scopes('admin'), '--ttl', 'none'], 1, it))).toBe(
    'forbidden',
  );
  await away.json(['token', 'revoke', String(made.id)], 0, it);
  expect(codeOf(await away.json(['exec', 'list'], 1, { env }))).toBe('unauthorized');
  await away.json(['machine', 'remove', 'third'], 0, it);
});

describe('a follower elsewhere', () => {
  test('goes on where it was when its connection is cut, no byte lost or doubled', async () => {
    const proxy = await TcpProxy.open(port);
    const { file } = await token(...scopes('exec:run:local'));
    const env = { CODEX_REMOTE_TOKEN_FILE: file, CODEX_REMOTE_URL: `https://127.0.0.1:${proxy.port}` };
    try {
      const cmd = 'i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; sleep 0.01; done; exit 5';
      const child = away.spawn(['exec', 'run', '-m', 'local', '--raw', '--cmd', cmd], { env });
      let text = '';
      child.stdout.on('data', (bytes: Buffer) => {
        text += bytes.toString();
      });
      const closed = once(child, 'close');
      for (const at of [20, 120, 220]) {
        await waitFor(`line ${at}`, () => text.includes(`line ${at}\n`));
        proxy.reset();
      }
      expect((await closed)[0]).toBe(5);
      expect(text).toBe(Array.from({ length: 300 }, (_, i) => `line ${i + 1}\n`).join(''));
      expect(proxy.accepted).toBeGreaterThan(3);
    } finally {
      await proxy.close();
    }
  });

  test('goes on when the controller is killed and comes back, and starts none meanwhile', async () => {
    const { with: it } = await token(...scopes('logs:read'));
    const { closed, lines, end } = await follower(it, 'killed');
    serving.kill('SIGKILL');
    await once(serving, 'close');
    serving = await serve();
    await end();
    expect((await closed)[0]).toBe(3);
    expect(lines.flatMap(({ line }) => line ?? [])).toEqual(['begun', 'done']);
  });
});

test('no controller was ever started on the other host, and nothing of one is on its disk', async () => {
  expect((await readdir(away.home)).filter((name) => ['run', 'state', 'config'].includes(name))).toEqual([]);
});
