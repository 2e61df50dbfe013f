import { execFileSync } from 'node:child_process';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  Cli,
  ConnectProxy,
  freePort,
  LonelyHost,
  lacks,
  needs,
  ProcessLists,
  waitFor,
} from '@codex-remote/test/lab';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

const minutes = 60_000;
const program = (name: string) =>
  execFileSync('/bin/sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim();
const tokenIn = (command: string): string => /'([0-9a-z]{20}\.[\w-]{43})'/.exec(command)?.[1] ?? '';

/** The agent's home on a host, as we see it. */
async function agentHome(host: LonelyHost): Promise<string> {
  const base = host.path('root/.local/share/codex-remote-agent');
  const folders = (await readdir(base)).filter((name) => name !== 'store');
  const controllers = await readdir(join(base, folders[0] ?? ''));
  return join(base, folders[0] ?? '', controllers[0] ?? '');
}

async function agentPid(host: LonelyHost): Promise<number> {
  const state = await readFile(join(await agentHome(host), 'agent.json'), 'utf8');
  return (JSON.parse(state) as { pid: number }).pid;
}

describe('a machine with no route but to the controller, a shell, and curl', () => {
  const reason = lacks('veth links');
  let host: LonelyHost;
  let cli: Cli;
  let command: string;

  beforeAll(async () => {
    if (reason) return;
    host = await LonelyHost.open([program('curl')]);
    cli = await Cli.open();
  });
  afterAll(async () => {
    await cli?.close();
    await host?.close();
  });
  beforeEach((context) => needs(context, 'veth links'));

  test('is not invited before the controller can be dialled', async () => {
    const refused = await cli.json(['machine', 'invite', 'gpu'], 1);
    expect(refused).toMatchObject({
      ok: false,
      error: { code: 'no_reachable_endpoint', hint: expect.stringContaining('--public-url') },
    });
    expect(await cli.json(['machine', 'list'])).toMatchObject({ machines: [] });
    const port = await freePort();
    const url = `https://${host.address}:${port}`;
    await cli.json(['controller', 'start', '--listen', `${host.address}:${port}`, '--public-url', url]);
  });

  test('joins by one pasted line; the token is in no argument, no environment and no URL', {
    timeout: 2 * minutes,
  }, async () => {
    const invited = await cli.json(['machine', 'invite', '-m', 'gpu']);
    expect(invited).toEqual({
      ok: true,
      machine: 'gpu',
      command: expect.not.stringContaining('\n'),
      expires_at: expect.stringMatching(/Z$/),
      next_command: 'codex-remote machine check -m gpu',
    });
    command = String(invited.command);
    expect(await cli.json(['machine', 'show', 'gpu'])).toMatchObject({ installed: false, invited: true });
    // No `machine up` leads there.
    const set = await cli.json(['machine', 'set', 'gpu', '--policy', 'full']);
    expect(set).toMatchObject({ enforced_by: 'controller', invited: true, next_action: 'fix-config' });
    expect(set.next_command).toBeUndefined();
    const [, secret = ''] = tokenIn(command).split('.');
    const lists = ProcessLists.watch(secret);
    const pasted = await host.exec(['/bin/sh'], `${command}\n`);
    await lists.stop();
    expect([pasted.status, pasted.stderr]).toEqual([0, '']);
    expect(JSON.parse(pasted.stdout)).toMatchObject({
      ok: true,
      machine: 'gpu',
      already_joined: false,
      service: { kind: 'detached' },
    });
    expect(lists.found).toEqual([]);
    // It has looked at what could have had it.
    expect([...lists.programs].some((name) => name.endsWith('/node'))).toBe(true);
    const home = await agentHome(host);
    expect((await readdir(home)).includes('join.token')).toBe(false);
    const texts = await Promise.all(
      ['config.json', 'agent.log', 'link.json'].map((name) => readFile(join(home, name), 'utf8')),
    );
    const ours = await Promise.all(
      ['config/registry.json', 'state/controller.log'].map((name) => readFile(join(cli.home, name), 'utf8')),
    );
    expect([...texts, ...ours].join('')).not.toContain(secret);
    expect((await stat(join(home, 'config.json'))).mode & 0o777).toBe(0o600);
  });

  test('runs what it is told', async () => {
    expect(await cli.json(['machine', 'check', 'gpu'])).toMatchObject({
      ssh_ok: null,
      daemon_ok: true,
      connection: 'direct',
      next_action: 'done',
    });
    const lines = await cli.lines(['exec', 'run', '-m', 'gpu', '--', 'cat', '/etc/machine-id']);
    expect(lines.find(({ type }) => type === 'log')?.line).toBe(
      (await readFile(host.path('etc/machine-id'), 'utf8')).trim(),
    );
    expect(lines.at(-1)).toMatchObject({ type: 'finished', exit_code: 0 });
  });

  test('says so when the line is pasted again', { timeout: minutes }, async () => {
    const pasted = await host.exec(['/bin/sh'], `${command}\n`);
    expect(JSON.parse(pasted.stdout)).toMatchObject({ ok: true, machine: 'gpu', already_joined: true });
  });

  test('the line lets no other in, and nothing of it stays there', { timeout: minutes }, async () => {
    const pasted = await host.exec(['/bin/sh'], `${command}\n`, { HOME: '/tmp/other' });
    expect(pasted.status).toBe(1);
    expect(JSON.parse(pasted.stdout)).toMatchObject({
      ok: false,
      error: {
        code: 'unauthorized',
        message: expect.stringContaining('was used by another'),
        hint: expect.stringContaining('machine invite -m gpu'),
      },
    });
    const files = await host.exec(['find', '/tmp/other', '-name', 'join.token', '-o', '-name', 'agent.json']);
    expect(files.stdout).toBe('');
    const folder = join(cli.home, 'state/audit');
    const lines = await Promise.all(
      (await readdir(folder)).map((name) => readFile(join(folder, name), 'utf8')),
    );
    const enrolments = lines
      .join('')
      .split('\n')
      .filter((line) => line.includes('"machine.enrol"'));
    const [id, secret = ''] = tokenIn(command).split('.');
    expect(enrolments.map((line) => JSON.parse(line))).toMatchObject([
      { machine: 'gpu', result: 'requested', facts: { token_id: id } },
      { machine: 'gpu', result: 'done', facts: { token_id: id } },
      { machine: 'gpu', result: 'refused', reason: 'token_used', facts: { token_id: id } },
    ]);
    expect(lines.join('')).not.toContain(secret);
  });

  test('is back after kill -9 of its agent, by its keeper and its key', { timeout: minutes }, async () => {
    const before = await agentPid(host);
    process.kill(before, 'SIGKILL');
    await waitFor('another agent', async () => (await agentPid(host)) !== before, 30_000);
    await waitFor(
      'the machine to be back',
      async () => (await cli.json(['machine', 'check', 'gpu'])).daemon_ok === true,
      30_000,
    );
  });

  test('is a stranger once it is removed, in the middle of a log, and stays one [row 81]', {
    timeout: minutes,
  }, async () => {
    const counting = 'i=0; while :; do echo $((i += 1)); sleep 0.05; done';
    const { exec_id } = await cli.json(['exec', 'start', '-m', 'gpu', '--cmd', counting]);
    const follower = cli.run(['exec', 'logs', '--id', String(exec_id), '--follow']);
    await waitFor(
      'output',
      async () => Number((await cli.json(['exec', 'result', '--id', String(exec_id)])).stdout_bytes) > 20,
    );
    await cli.json(['machine', 'remove', 'gpu']);
    const { stdout } = await follower;
    expect(JSON.parse(stdout.toString().trim().split('\n').at(-1) ?? '')).toMatchObject({ type: 'error' });
    const link = async () => readFile(join(await agentHome(host), 'link.json'), 'utf8');
    await waitFor('the refusal', async () => (await link()).includes('"unauthorized"'), 30_000);
    // Nor with its token, where the machine is there again.
    const wrong = await cli.json(['machine', 'invite', 'gpu']);
    expect(await cli.json(['machine', 'invite', 'gpu', '--revoke'])).toMatchObject({ ok: true, revoked: 1 });
    expect((await host.exec(['/bin/sh'], `${wrong.command}\n`)).status).toBe(1);
    const anew = await cli.json(['machine', 'invite', 'gpu']);
    expect(await cli.json(['machine', 'check', 'gpu'])).toMatchObject({
      ssh_ok: null,
      daemon_ok: false,
      next_command: 'codex-remote machine invite -m gpu',
      error: { message: expect.stringContaining('has not joined yet') },
    });
    const pasted = await host.exec(['/bin/sh'], `${command}\n`);
    expect(pasted.status).toBe(1);
    expect(await cli.json(['machine', 'show', 'gpu'])).toMatchObject({ connected: false, installed: false });
    // The agent that was there is as it was, and serves nobody.
    const [unit = ''] = (await host.exec(['cat', `/proc/${await agentPid(host)}/cmdline`])).stdout.split(
      '\0',
    );
    expect(unit).toMatch(/node$/);
    expect((await readdir(await agentHome(host))).includes('join.token')).toBe(false);
    // But by the new line, as it was before.
    expect(JSON.parse((await host.exec(['/bin/sh'], `${anew.command}\n`)).stdout)).toMatchObject({
      ok: true,
    });
    expect(await cli.json(['machine', 'check', 'gpu'])).toMatchObject({ daemon_ok: true });
  });

  test('is no second machine of the same controller', { timeout: minutes }, async () => {
    const { command } = await cli.json(['machine', 'invite', 'second']);
    const pasted = await host.exec(['/bin/sh'], `${command}\n`);
    expect(JSON.parse(pasted.stdout)).toMatchObject({
      ok: false,
      error: { code: 'conflict', message: expect.stringContaining('joined as gpu already') },
    });
    expect(await cli.json(['machine', 'check', 'gpu'])).toMatchObject({ daemon_ok: true });
  });

  test('is let go by machine down, with its execs running on, and comes back by a line', {
    timeout: 2 * minutes,
  }, async () => {
    await cli.json([
      'exec',
      'start',
      '-m',
      'gpu',
      '--id',
      'outlives',
      '--cmd',
      'until [ -e ~/over ]; do sleep 0.1; done; exit 3',
    ]);
    expect(await cli.json(['machine', 'down', 'gpu', '--purge'], 1)).toMatchObject({
      error: { code: 'conflict' },
    });
    expect(await cli.json(['machine', 'down', 'gpu'])).toMatchObject({
      ok: true,
      stopped: true,
      running: expect.arrayContaining(['outlives']),
    });
    const offline = await cli.json(['exec', 'start', '-m', 'gpu', '--cmd', 'exit 0'], 1);
    expect(offline).toMatchObject({
      error: { code: 'machine_offline', hint: expect.stringContaining('machine invite -m gpu') },
    });
    const { command } = await cli.json(['machine', 'invite', 'gpu']);
    const pasted = await host.exec(['/bin/sh'], `${command}\n`);
    expect(JSON.parse(pasted.stdout)).toMatchObject({ ok: true, already_joined: false });
    await writeFile(host.path('root/over'), '');
    await cli.json(['exec', 'wait', '--id', 'outlives'], 3);
  });
});

describe('a machine that only a proxy leads out of, with wget', () => {
  let host: LonelyHost | undefined;
  let proxy: ConnectProxy | undefined;
  let cli: Cli | undefined;
  afterEach(async () => {
    await cli?.close();
    await host?.close();
    await proxy?.close();
  });

  test('joins and stays by the proxy of HTTPS_PROXY, which sees nothing but TLS', {
    timeout: 3 * minutes,
  }, async (context) => {
    needs(context, 'veth links');
    host = await LonelyHost.open([program('wget')]);
    cli = await Cli.open();
    const port = await freePort();
    const name = 'controller.example:8443';
    proxy = await ConnectProxy.open({
      host: host.address,
      credentials: 'me:s3cret',
      routes: { [name]: port },
    });
    const url = `https://${name}`;
    await cli.json(['controller', 'start', '--listen', `127.0.0.1:${port}`, '--public-url', url]);
    const { command } = await cli.json(['machine', 'invite', 'behind']);
    const alone = await host.exec(['/bin/sh'], `${command}\n`);
    expect(alone).toMatchObject({ status: 1, stderr: expect.stringContaining('nothing was run') });

    const HTTPS_PROXY = `http://me:s3cret@${host.address}:${proxy.port}`;
    const pasted = await host.exec(['/bin/sh'], `${command}\n`, { HTTPS_PROXY });
    expect([pasted.status, pasted.stderr]).toEqual([0, '']);
    expect(JSON.parse(pasted.stdout)).toMatchObject({ ok: true, machine: 'behind', already_joined: false });
    expect(new Set(proxy.asked)).toEqual(new Set([name]));
    const [, secret = ''] = tokenIn(String(command)).split('.');
    expect(proxy.carried.toString('latin1')).not.toContain(secret);
    await cli.json(['exec', 'run', '-m', 'behind', '--cmd', 'exit 0', '--brief']);

    // The setting is the agent's own: it finds its way without that environment.
    const home = await agentHome(host);
    const config = join(home, 'config.json');
    expect(JSON.parse(await readFile(config, 'utf8'))).toMatchObject({
      endpoints: [{ kind: 'wss', proxy: `${HTTPS_PROXY}/` }],
    });
    expect((await stat(config)).mode & 0o777).toBe(0o600);
    const inside = home.slice(host.root.length);
    const versions = JSON.parse(await readFile(join(home, 'versions.json'), 'utf8')) as {
      current: { node: string; bundle: string };
    };
    const { node, bundle } = versions.current;
    expect((await host.exec([node, bundle, 'stop', '--home', inside])).status).toBe(0);
    expect((await host.exec([node, bundle, 'start', '--home', inside])).status).toBe(0);
    await waitFor(
      'the machine to be back',
      async () => (await cli?.json(['machine', 'check', 'behind']))?.daemon_ok === true,
      30_000,
    );
  });
});

describe('a machine to which a file is carried', () => {
  let host: LonelyHost | undefined;
  let cli: Cli | undefined;
  afterEach(async () => {
    await cli?.close();
    await host?.close();
  });

  test('joins by running it; one whose time is over says so', { timeout: 3 * minutes }, async (context) => {
    needs(context, 'veth links');
    host = await LonelyHost.open([]);
    cli = await Cli.open();
    const port = await freePort();
    const url = `https://${host.address}:${port}`;
    await cli.json(['controller', 'start', '--listen', `${host.address}:${port}`, '--public-url', url]);
    const late = await carry(cli, host, 'late');
    const good = await carry(cli, host, 'carried');

    // As if ten minutes had gone by for that one.
    await cli.json(['controller', 'stop']);
    const path = join(cli.home, 'config/registry.json');
    const registry = JSON.parse(await readFile(path, 'utf8')) as {
      sum?: string;
      machines: { name: string; invites: { expires_at: string }[] }[];
    };
    delete registry.sum;
    for (const { name, invites } of registry.machines)
      if (name === 'late') for (const invite of invites) invite.expires_at = '2026-01-01T00:00:00.000Z';
    await writeFile(path, JSON.stringify(registry));
    await cli.json(['controller', 'start']);

    const expired = await host.exec(['/bin/sh', late]);
    expect(expired.status).toBe(1);
    expect(JSON.parse(expired.stdout)).toMatchObject({
      error: { code: 'unauthorized', message: expect.stringContaining('is over') },
    });
    const joined = await host.exec(['/bin/sh', good]);
    expect([joined.status, joined.stderr]).toEqual([0, '']);
    expect(JSON.parse(joined.stdout)).toMatchObject({ ok: true, machine: 'carried' });
    await cli.json(['exec', 'run', '-m', 'carried', '--cmd', 'exit 0', '--brief']);
  });
});

/** By hand. */
async function carry(cli: Cli, host: LonelyHost, machine: string): Promise<string> {
  const path = host.path(`root/${machine}.sh`);
  const bundle = await cli.json(['machine', 'invite', machine, '--bundle', path], 0, { timeoutMs: 60_000 });
  expect(bundle).toMatchObject({ ok: true, machine, bundle: path, command: `sh ${machine}.sh` });
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  return `/root/${machine}.sh`;
}
