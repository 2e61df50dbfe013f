import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Cli, SshLab, TcpProxy } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const mb = 1024 * 1024;
const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

/** A machine behind SSH and a network that breaks. What its jobs leave comes into folders of the test. */
describe('what an exec leaves', () => {
  const big = randomBytes(12 * mb);
  let lab: SshLab;
  let proxy: TcpProxy;
  let cli: Cli;

  beforeAll(async () => {
    lab = await SshLab.open();
    proxy = await TcpProxy.open(lab.server.port);
    cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: await lab.configThrough(proxy) });
    await cli.json(['machine', 'up', 'box']);
    writeFileSync(there('big.bin'), big);
  });
  afterAll(async () => {
    await cli?.close();
    await proxy?.close();
    await lab?.close();
  });

  const there = (name: string): string => join(lab.user.home, name);
  const here = (name: string): string => join(cli.home, name);
  const run = (id: string, cmd: string, ...globs: string[]) =>
    cli.run([
      'exec',
      'run',
      '-m',
      'box',
      '--id',
      id,
      ...globs.flatMap((glob) => ['--artifact', glob]),
      '--cmd',
      cmd,
    ]);
  const artifacts = (id: string, args: string[] = [], status = 0) =>
    cli.json(['exec', 'artifacts', '--id', id, ...args], status, { timeoutMs: 90_000 });

  test('is told with its end and fetched as it was then, whatever became of the directory', async () => {
    const made = await run(
      'made',
      'mkdir -p out/deep; echo one >out/a.txt; echo two >"out/deep/b c.txt"; chmod 755 out/a.txt; exit 7',
      'out',
      '*.none',
    );
    expect(made.status).toBe(7);
    const last = JSON.parse(made.stdout.toString().trim().split('\n').at(-1) ?? '') as object;
    const file = { path: 'out/a.txt', size: 4, sha256: sha256('one\n'), mode: 0o755 };
    const told = {
      count: 2,
      bytes: 8,
      files: expect.arrayContaining([file]),
      skipped: [{ path: '*.none', why: 'no_match' }],
    };
    expect(last).toMatchObject({ type: 'finished', exit_code: 7, artifacts: told });
    expect(await cli.json(['exec', 'result', '--id', 'made'])).toMatchObject({ artifacts: told });
    expect(await cli.json(['exec', 'wait', '--id', 'made'], 7)).toMatchObject({ artifacts: told });
    expect(await artifacts('made')).toMatchObject({
      ok: true,
      machine: 'box',
      status: 'finished',
      exit_code: 7,
      ...told,
    });
    rmSync(there('out'), { recursive: true });
    expect(await artifacts('made', ['--dst', 'got/here'])).toMatchObject({
      dst: here('got/here'),
      fetched: 2,
      unchanged: 0,
    });
    expect(readFileSync(here('got/here/out/deep/b c.txt'), 'utf8')).toBe('two\n');
    expect(statSync(here('got/here/out/a.txt')).mode & 0o777).toBe(0o755 & ~process.umask());
  });

  test('does not replace what is there, unless that is asked for, and follows no link', async () => {
    writeFileSync(here('got/here/out/a.txt'), 'mine');
    const refused = [{ path: 'out/a.txt', why: 'exists' }];
    const left = await artifacts('made', ['--dst', 'got/here'], 1);
    expect(left).toMatchObject({ ok: true, fetched: 0, unchanged: 1, refused });
    expect(readFileSync(here('got/here/out/a.txt'), 'utf8')).toBe('mine');
    expect(left.next_command).toBe('codex-remote exec artifacts --id made --dst got/here --force');
    expect(await artifacts('made', ['--dst', 'got/here', '--force'])).toMatchObject({
      fetched: 1,
      unchanged: 1,
    });
    mkdirSync(here('outside'));
    mkdirSync(here('linked'));
    symlinkSync(here('outside'), here('linked/out'));
    const blocked = await artifacts('made', ['--dst', 'linked', '--force'], 1);
    expect(blocked).toMatchObject({ fetched: 0, refused: [{ why: 'blocked' }, { why: 'blocked' }] });
    expect(readdirSync(here('outside'))).toEqual([]);
  });

  test('is held back where it would act by itself', async () => {
    await run(
      'acts',
      'mkdir -p acts/.vscode; echo x >acts/.envrc; echo x >acts/.vscode/tasks.json; echo x >acts/report',
      'acts',
    );
    const got = await artifacts('acts', ['--dst', 'acts'], 1);
    expect(got).toMatchObject({ fetched: 1 });
    expect(
      (got.held_back as { path: string; why: string }[]).map(({ path, why }) => [path, why]).sort(),
    ).toEqual([
      ['acts/.envrc', 'shell'],
      ['acts/.vscode/tasks.json', 'editor'],
    ]);
    expect(existsSync(here('acts/acts/.envrc'))).toBe(false);
    expect(await artifacts('acts', ['--dst', 'acts', '--allow-autorun'])).toMatchObject({
      fetched: 2,
      unchanged: 1,
    });
  });

  test("codex-runner's list is honoured without any flag", async () => {
    const list = JSON.stringify({
      version: '1',
      artifacts: [{ name: 'report', type: 'file', path: 'report.md' }],
    });
    await run('runner', `mkdir -p .codex; echo r >report.md; echo '${list}' >.codex/artifacts.json`);
    expect(await artifacts('runner')).toMatchObject({
      manifest: 'codex-runner',
      files: [{ path: 'report.md', name: 'report', type: 'file', size: 2 }],
    });
    rmSync(there('.codex'), { recursive: true });
  });

  test('goes on where it was when the connection breaks, and is not there in part', async () => {
    await run('large', 'true', 'big.bin');
    const cut = proxy.cutAfter('down', 5 * mb);
    const fetching = artifacts('large', ['--dst', 'large']);
    await cut;
    expect(await fetching).toMatchObject({ fetched: 1 });
    expect(readFileSync(here('large/big.bin')).equals(big)).toBe(true);
    expect(readdirSync(here('large'))).toEqual(['big.bin']);
  });

  test('is nothing while it runs, and is all listed however many there are', async () => {
    await cli.json(['exec', 'start', '-m', 'box', '--id', 'runs', '--artifact', 'x', '--cmd', 'sleep 60']);
    expect(await artifacts('runs')).toMatchObject({
      status: 'running',
      count: 0,
      files: [],
      next_action: 'wait',
    });
    await cli.json(['exec', 'cancel', '--id', 'runs']);
    await run('many', 'mkdir many; cd many; seq 450 | xargs touch', 'many');
    const all = await artifacts('many');
    expect([all.count, (all.files as object[]).length]).toEqual([450, 450]);
    expect(await artifacts('many', ['--limit', '10'])).toMatchObject({ count: 450, more: true });
    const brief = await cli.run(['exec', 'result', '--id', 'many', '--brief']);
    expect(brief.stdout.byteLength).toBeLessThanOrEqual(6000);
  });

  test('of a policy that lists commands is refused before anything is started', async () => {
    await cli.json(['machine', 'set', '-m', 'box', '--policy', 'allow', '--allow', 'true']);
    const refused = await cli.json(['exec', 'start', '-m', 'box', '--artifact', '.ssh/*', '--', 'true'], 1);
    expect(refused).toMatchObject({ error: { code: 'policy_refused', rule: 'files', sent: 'no' } });
  });
});
