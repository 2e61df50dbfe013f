import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cli, type CliResult, freePort, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** A word that nobody else writes, and the forms of it that are looked for. */
const canary = (what: string): string => `canary-${what}-${randomBytes(12).toString('hex')}`;
const secrets = {
  env: canary('env'),
  file: canary('file'),
  stdin: canary('stdin'),
  typed: canary('typed'),
};
const forms = (secret: string): Buffer[] => [
  Buffer.from(secret),
  Buffer.from(Buffer.from(secret).toString('base64').slice(0, 40)),
  Buffer.from(Buffer.from(secret).toString('hex')),
];

/** Every file under a folder, sockets and FIFOs left out. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Nothing where it has gone since: a machine that is in use clears away. */
function contentOf(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0);
  }
}

describe('a secret that is given to jobs', () => {
  let cli: Cli;
  let inputs: string;
  let home: string;
  /** Everything that a command of ours has written. */
  const said: string[] = [];

  beforeAll(async () => {
    cli = await Cli.open({ FROM_HERE: secrets.typed });
    inputs = await mkdtemp(join(tmpdir(), 'crs-'));
    writeFileSync(join(inputs, 'env'), `FILE_TOKEN=${secrets.file}\n`, { mode: 0o600 });
    writeFileSync(join(inputs, 'stdin'), `${secrets.stdin}\n`, { mode: 0o600 });
    await run(['machine', 'up', 'local']);
    home = String((await cli.json(['machine', 'show', 'local'])).agent_home);
  });
  afterAll(async () => {
    rmSync(inputs, { recursive: true, force: true });
    await cli?.close();
  });

  async function run(args: readonly string[], env: Record<string, string> = {}): Promise<CliResult> {
    const ran = await cli.run(args, { env });
    said.push(`${args.slice(0, 2).join(' ')}: ${ran.stdout}${ran.stderr}`);
    return ran;
  }
  const withSecrets = (id: string, ...more: string[]): string[] => [
    ...['exec', 'start', '-m', 'local', '--id', id, '--env', `API_TOKEN=${secrets.env}`],
    ...['--env-file', join(inputs, 'env'), '--stdin', join(inputs, 'stdin'), ...more],
  ];
  const ended = (id: string) => run(['exec', 'wait', '--id', id]);
  const agentPid = () => Number(JSON.parse(readFileSync(join(home, 'agent.json'), 'utf8')).pid);

  /** Where any of them lies on disk, as paths below the home; what names them and how they are written. */
  function found(): string[] {
    return filesIn(cli.home).flatMap((path) => {
      const bytes = contentOf(path);
      return Object.entries(secrets)
        .filter(([, secret]) => forms(secret).some((form) => bytes.includes(form)))
        .map(([name]) => `${path.slice(cli.home.length)}: ${name}`);
    });
  }

  /** Processes of ours, by their words; those of a job carry its id in the environment. */
  function processes(): { pid: number; words: string; environment: string }[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((pid) => {
        try {
          const [words, environment] = ['cmdline', 'environ'].map((file) =>
            readFileSync(`/proc/${pid}/${file}`, 'latin1'),
          ) as [string, string];
          return environment.includes(cli.home) ? [{ pid: Number(pid), words, environment }] : [];
        } catch {
          return [];
        }
      });
  }
  const holds = (text: string): boolean =>
    Object.values(secrets).some((secret) => forms(secret).some((form) => text.includes(form.toString())));

  test('that ran, failed to start, or stands in a command: nowhere, and masked where we show the command [row 102] [row 103]', async () => {
    await run(withSecrets('ran', '--cmd', 'read -r line; test -n "$API_TOKEN$FILE_TOKEN$line"'));
    expect((await ended('ran')).status).toBe(0);
    await run([...withSecrets('typed'), '--env', 'FROM_HERE', '--', 'true', secrets.env, secrets.typed]);
    await ended('typed');
    const typed = JSON.parse((await run(['exec', 'result', '--id', 'typed'])).stdout.toString());
    expect(typed).toMatchObject({ status: 'finished', exit_code: 0, command: "true '***' '***'" });
    expect((await run(['exec', 'list'])).stdout.toString()).toContain("true '***'");
    await run(withSecrets('missing', '--', `/nowhere/${secrets.env}`));
    expect(JSON.parse((await ended('missing')).stdout.toString())).toMatchObject({
      reason: 'failed_to_start',
      spawn_error: expect.stringContaining('/nowhere/***'),
    });
    expect(found()).toEqual([]);
  });

  test('that waits in a queue: in its own 0600 files, and nowhere once it runs, or is cancelled [row 102]', async () => {
    await run(['machine', 'set', 'local', '--queue', 'q=0']);
    await run(withSecrets('waits', '--queue', 'q', '--cmd', 'read -r line; sleep 60'));
    await run(withSecrets('never', '--queue', 'q', '--cmd', 'true'));
    const own = (id: string) => [
      ...['env', 'file'].map((name) => `queued/${id}/request: ${name}`),
      `queued/${id}/stdin: stdin`,
    ];
    const places = () => found().map((place) => place.slice(place.indexOf('queued/')));
    expect(places().toSorted()).toEqual([...own('waits'), ...own('never')].toSorted());
    for (const place of found())
      expect(statSync(join(cli.home, place.slice(0, place.indexOf(': ')))).mode & 0o777).toBe(0o600);

    await run(['exec', 'cancel', '--id', 'never']);
    expect(places().toSorted()).toEqual(own('waits').toSorted());
    // Killed while it waits, both come back, and it starts.
    const controller = Number(await cli.controllerPid());
    const agent = agentPid();
    for (const pid of [controller, agent]) process.kill(pid, 'SIGKILL');
    await waitFor('their end', () => !processes().some(({ pid }) => pid === controller || pid === agent));
    await run(['machine', 'up', 'local']);
    await run(['machine', 'set', 'local', '--queue', 'q=1']);
    await waitFor(
      'its start',
      async () => (await cli.json(['exec', 'result', '--id', 'waits'])).status === 'running',
    );
    await waitFor('the end of its stdin on disk', () => found().length === 0);
  });

  test('while its job runs: in no words of a process, and in no environment but those of the job [row 102]', async () => {
    const all = processes();
    expect(all.some(({ words }) => words.includes('sleep\u000060'))).toBe(true);
    expect(all.filter(({ words }) => holds(words)).map(({ words }) => words)).toEqual([]);
    const daemons = all.filter(({ words }) => /controller\.mjs|agent\.mjs/.test(words));
    expect(daemons.length).toBeGreaterThanOrEqual(2);
    for (const { environment } of daemons) {
      for (const secret of [secrets.env, secrets.file, secrets.stdin])
        expect(environment).not.toContain(secret);
    }
    // The job has them; the shim that starts it passes them on, and nobody else may look.
    const carriers = all.filter(({ environment }) => environment.includes(secrets.env));
    expect(carriers.length).toBeGreaterThan(0);
    for (const { words } of carriers) expect(words).toMatch(/sleep|read -r line|shim|cat/);
  });

  test('after kill -9 of everything, job and shim too: nowhere [row 102]', async () => {
    const doomed = processes().filter(({ pid }) => pid !== process.pid);
    for (const { pid } of doomed) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Ended with another.
      }
    }
    await waitFor('their end', () => doomed.every(({ pid }) => !processes().some((one) => one.pid === pid)));
    expect(found()).toEqual([]);
    await run(['machine', 'up', 'local']);
    const lost = JSON.parse((await ended('waits')).stdout.toString());
    expect(lost).toMatchObject({ status: 'lost', exit_code: null });
    expect(found()).toEqual([]);
  });

  test('in what fails: conflicts, unknown machines, wrong usage, --debug, lines to repeat [row 102]', async () => {
    const conflict = await run([...withSecrets('ran', '--cmd', 'another'), '--debug']);
    expect(JSON.parse(conflict.stdout.toString())).toMatchObject({ error: { code: 'conflict' } });
    const away = ['exec', 'start', '-m', 'nowhere', '--debug', '--cmd', 'x', '--env', `A_KEY=${secrets.env}`];
    expect(JSON.parse((await run(away)).stdout.toString()).error.code).toBe('unknown_machine');
    await run(['exec', 'run', '-m', 'local', '--env', `1bad=${secrets.env}`, '--debug', '--cmd', 'x']);
    await run(['exec', 'run', '-m', 'local', `--env=A=${secrets.env}`, '--nope', '--debug', '--cmd', 'x']);
    writeFileSync(join(inputs, 'odd'), `bad name=${secrets.file}\n`);
    await run(['exec', 'run', '-m', 'local', '--env-file', join(inputs, 'odd'), '--cmd', 'x', '--debug']);
    // Away, or just going: the next line does not say the value again.
    await run(['machine', 'down', 'local']);
    const start = withSecrets('later', '--connect-wait', '0s', '--cmd', 'x');
    const offline = JSON.parse((await run(start)).stdout.toString());
    expect(offline).toMatchObject({
      ok: false,
      error: { sent: expect.stringMatching(/^(no|unknown)$/) },
      next_command: expect.stringContaining('later'),
    });
    await run(['controller', 'logs', '--tail', '1000']);
    expect(said.filter(holds)).toEqual([]);
    expect(found()).toEqual([]);
  });

  test('and tokens, of callers and of invitations, are shown once and kept as a hash alone [row 102]', async () => {
    const at = `127.0.0.1:${await freePort()}`;
    await cli.json(['controller', 'start', '--listen', at, '--public-url', `https://${at}`]);
    await cli.json(['machine', 'add', 'far', '--ssh', 'u@192.0.2.1']);
    const made = [
      await cli.run(['token', 'create', '--scope', 'machines:read']),
      await cli.run(['machine', 'invite', '-m', 'far']),
    ].map(({ stdout }) => /[0-9a-z]{20}\.([A-Za-z0-9_-]{43})/.exec(stdout.toString())?.[1] ?? '');
    for (const ours of made) expect(ours).toHaveLength(43);
    const later = [
      await cli.run(['token', 'list']),
      await cli.run(['machine', 'show', '-m', 'far']),
      await cli.run(['audit', 'list', '--limit', '200']),
      await cli.run(['controller', 'logs', '--tail', '1000']),
    ].map(({ stdout, stderr }) => `${stdout}${stderr}`);
    for (const ours of made) {
      expect(later.filter((text) => text.includes(ours))).toEqual([]);
      expect(filesIn(cli.home).filter((path) => contentOf(path).includes(ours))).toEqual([]);
      expect(processes().filter(({ words, environment }) => (words + environment).includes(ours))).toEqual(
        [],
      );
    }
  });

  test('and the private keys of both sides are in their own 0600 files alone [row 102]', async () => {
    await run(['machine', 'up', 'local']);
    const keys = filesIn(cli.home).filter((path) => contentOf(path).subarray(0, 40).includes('PRIVATE KEY'));
    expect(keys.length).toBeGreaterThanOrEqual(2);
    for (const key of keys) {
      expect(statSync(key).mode & 0o777).toBe(0o600);
      const [body = ''] = /^[A-Za-z0-9+/=]{40,}$/m.exec(readFileSync(key, 'utf8')) ?? [];
      expect(body.length).toBeGreaterThan(40);
      const holders = filesIn(cli.home).filter((path) => path !== key && contentOf(path).includes(body));
      expect(holders).toEqual([]);
      expect(said.filter((text) => text.includes(body))).toEqual([]);
    }
    expect(keys.map((path) => path.slice(-4))).toEqual(keys.map(() => '.pem'));
  });
});
