import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { Cli, cliProgram, fullSize, SshLab, TcpProxy } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GitLab } from '../../packages/client/test/git/support/lab.ts';

const mb = 1024 * 1024;
type Answer = Record<string, unknown>;

/** Repositories of this host, and the machine `box` behind SSH, over a network that can break. */
describe('the code of a project', () => {
  const here = new GitLab();
  let lab: SshLab;
  let proxy: TcpProxy;
  let cli: Cli;

  beforeAll(async () => {
    lab = await SshLab.open();
    proxy = await TcpProxy.open(lab.server.port);
    cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: await lab.configThrough(proxy) });
    await cli.json(['machine', 'up', 'box']);
  });
  afterAll(async () => {
    await cli?.close();
    await proxy?.close();
    await lab?.close();
    here.close();
  });

  const flags = (folder: string, ref: string) => ['-m', 'box', '--project', here.at(folder), '--ref', ref];
  /** Runs a shell line in the project and gives what it wrote, with the last line of the answer. */
  async function run(folder: string, ref: string, line: string, ...more: string[]) {
    const lines = await cli.lines(['exec', 'run', ...flags(folder, ref), ...more, '--', 'sh', '-c', line]);
    const output = lines.filter(({ type }) => type === 'log').map(({ line: written }) => written);
    return { output, ...(lines.at(-1) as Answer) } as Answer & { output: unknown[] };
  }
  /** What fails before anything starts. */
  async function refused(...args: string[]) {
    const answer = await cli.json(['exec', 'start', '-m', 'box', ...args, '--', 'true'], 1);
    expect(answer.error).toMatchObject({ sent: 'no', exec_id: expect.any(String) });
    return answer.error as Answer;
  }
  const execs = async () => Number((await cli.json(['exec', 'list'])).total);
  const sent = async () =>
    (
      (await cli.json(['audit', 'list', '--verb', 'git.receive', '--limit', '1000'])).entries as Answer[]
    ).filter(({ result }) => result === 'done').length;

  test('a commit that was never pushed runs there, with its history; a second run sends nothing', async () => {
    here.repository('app');
    here.write('app', 'a', 'second\n');
    const commit = here.commit('app', 'second');
    const tree = here.git('app', 'rev-parse', 'HEAD^{tree}');
    const first = await run('app', 'main', 'cat a; git log --format=%s; git status --short; pwd');
    expect(first).toMatchObject({
      exit_code: 0,
      ...{ ref: 'main', commit, tree, dirty: false, project: expect.stringMatching(/^app-[0-9a-f]{12}$/) },
      output: ['second', 'second', 'first', first.worktree],
    });
    const before = await sent();
    expect(await run('app', 'HEAD~1', 'cat a')).toMatchObject({ output: ['first'] });
    expect(await sent()).toBe(before);
    // The same answer is given later, by id.
    const { exec_id } = first;
    expect(await cli.json(['exec', 'result', '--id', String(exec_id)])).toMatchObject({
      commit,
      tree,
      dirty: false,
    });
  });

  test('files that nobody has committed run there as they are, from the folder that the caller is in', async () => {
    here.repository('odd');
    here.write('odd', '.gitattributes', '*.bat text eol=crlf\n');
    here.commit('odd');
    for (const name of ['-n', ' s p ', 'new\nline', 'NAME', 'name', 'grüße'])
      here.write('odd', name, `${name}\n`);
    here.write('odd', 'x.bat', 'a\nb\n');
    here.write('odd', 'run', '#!/bin/sh\necho ran\n');
    chmodSync(here.at('odd', 'run'), 0o755);
    symlinkSync('run', here.at('odd', 'link'));
    const before = here.picture('odd');
    const there = cli.using(['env', '-C', here.at('odd'), cliProgram]);
    const line = 'for f in *; do printf "%s=" "$f"; done; ./link; git status --short; wc -c <x.bat; cat ./-n';
    const lines = await there.lines([
      ...['exec', 'run', '-m', 'box', '--project', '.', '--ref', 'WORKTREE', '--', 'sh', '-c', line],
    ]);
    const output = lines.filter(({ type }) => type === 'log').map(({ line: written }) => written);
    // biome-ignore format: as a shell sorts and prints them
    expect(output).toEqual([' s p =-n=NAME=a=grüße=link=name=new', 'line=run=x.bat=ran', '6', '-n']);
    expect(lines.at(-1)).toMatchObject({ exit_code: 0, ref: 'WORKTREE', dirty: true });
    expect(here.picture('odd')).toEqual(before);
    expect(here.git('odd', 'for-each-ref', '--format=%(refname)')).toBe('refs/heads/main');
  });

  test('a workspace is the same one each time, without what is not of the commit where that is asked for', async () => {
    here.repository('app2');
    const dirty = await run('app2', 'main', 'mkdir cache; echo built >cache/x; pwd', '--workspace', 'w');
    here.write('app2', 'a', 'changed\n');
    const again = await run('app2', 'WORKTREE', 'cat a cache/x', '--workspace', 'w');
    expect(again).toMatchObject({ workspace: 'w', worktree: dirty.worktree, output: ['changed', 'built'] });
    const clean = await run('app2', 'WORKTREE', 'ls', '--workspace', 'w', '--clean');
    expect(clean).toMatchObject({ worktree: dirty.worktree, output: ['a'] });
    mkdirSync(here.at('app2/sub'));
    here.write('app2', 'sub/b', 'b\n');
    const kept = await run('app2', 'WORKTREE', 'cat b', '--cwd', 'sub', '--keep-worktree');
    expect(kept).toMatchObject({ output: ['b'], worktree_kept: true });
  });

  test('two execs at different commits of one project at once do not meet', async () => {
    here.repository('pair');
    here.write('pair', 'a', 'uncommitted\n');
    const line = 'cat a; i=0; while [ $i -lt 50 ]; do echo $i >>a; i=$((i+1)); done; wc -l <a';
    const both = await Promise.all([run('pair', 'main', line), run('pair', 'WORKTREE', line)]);
    expect(both.map(({ output }) => output)).toEqual([
      ['first', '51'],
      ['uncommitted', '51'],
    ]);
  });

  test.each(['sha256', 'shallow', 'submodule'])('%s: a repository of that kind', async (kind) => {
    here.repository(kind, ...(kind === 'sha256' ? ['--object-format=sha256'] : []));
    if (kind === 'shallow') {
      here.commit(kind);
      here.git('.', 'clone', '-q', '--depth', '1', `file://${here.at(kind)}`, 'clone');
      const shallow = await run('clone', 'HEAD', 'cat a; git log --oneline | wc -l');
      expect(shallow).toMatchObject({ output: ['first', '1'], exit_code: 0 });
      return;
    }
    if (kind === 'submodule') {
      here.git(
        kind,
        '-c',
        'protocol.file.allow=always',
        'submodule',
        '--quiet',
        'add',
        here.at('app'),
        'lib',
      );
      here.commit(kind);
    }
    const lines = await cli.lines(['exec', 'run', ...flags(kind, 'WORKTREE'), '--', 'ls', '-A']);
    const said = 'submodules are not sent, their folders are empty there: lib';
    const warnings = kind === 'submodule' ? [said] : undefined;
    expect([lines[0]?.warnings, lines.at(-1)?.warnings]).toEqual([warnings, warnings]);
    expect(lines.at(-1)).toMatchObject({ exit_code: 0, commit: here.git(kind, 'rev-parse', 'HEAD') });
  });

  test('a blob of 100 MB', async () => {
    here.repository('huge');
    const size = 100 * mb;
    writeFileSync(here.at('huge/blob'), fullSize ? randomBytes(size) : Buffer.alloc(size, 'abcdefgh'));
    expect(await refused(...flags('huge', 'WORKTREE').slice(2))).toMatchObject({
      code: 'too_large',
      large_files: ['blob (100 MiB)'],
    });
    const done = await run('huge', 'WORKTREE', 'wc -c <blob; cksum <blob', '--include-large');
    expect(done).toMatchObject({ exit_code: 0 });
    expect(done.output[0]).toBe(String(size));
    rmSync(here.at('huge'), { recursive: true });
  });

  test('a connection that breaks while commits are sent: they are sent again, and are there once [row 50]', async () => {
    here.repository('big');
    here.write('big', 'noise', randomBytes(8 * mb));
    const commit = here.commit('big');
    const cut = proxy.cutAfter('up', 3 * mb);
    const running = run('big', 'main', 'wc -c <noise');
    await cut;
    expect(await running).toMatchObject({ commit, output: [String(8 * mb)], exit_code: 0 });
  });

  test('who is told to stop while commits are sent says so; nothing has started, and nothing of it goes on', async () => {
    const before = await execs();
    here.write('big', 'noise', randomBytes(8 * mb));
    here.commit('big');
    proxy.shape('up', { bytesPerSecond: 4 * mb });
    const reached = seen(proxy, mb);
    const child = cli.spawn(['exec', 'run', ...flags('big', 'main'), '--', 'true']);
    const output = text(child.stdout);
    const ended = once(child, 'close');
    await reached;
    child.kill('SIGTERM');
    expect((await ended)[0]).toBe(255);
    proxy.shape('up');
    expect(JSON.parse(await output)).toMatchObject({
      type: 'error',
      error: { code: 'cancelled', sent: 'no' },
    });
    expect(await execs()).toBe(before);
  });

  test('what does not exist, or is not given, is told before anything starts', async () => {
    const before = await execs();
    here.git('app', 'update-ref', 'refs/heads/--upload-pack=x', 'HEAD');
    await cli.json(['project', 'add', 'known', '--repo', here.at('app')]);
    const error = async (...args: string[]) => (await refused(...args)).code;
    expect(await error('--project', here.at('app'), '--ref', 'nothing')).toBe('unknown_ref');
    expect(await error('--project', here.dir, '--ref', 'main')).toBe('not_repository');
    expect(await refused('--project', 'knwon', '--ref', 'main')).toMatchObject({
      code: 'unknown_project',
      nearest: ['known'],
      hint: expect.stringContaining('did you mean known?'),
    });
    for (const args of [
      ['--project', 'known'],
      ['--project', 'known', '--ref', '--upload-pack=x'],
      ['--project', 'known', '--ref=-x'],
      ['--ref', 'main'],
      ['--project', 'known', '--ref', 'main', '--clean'],
    ]) {
      const answer = await cli.json(['exec', 'start', '-m', 'box', ...args, '--', 'true'], 2);
      expect(answer).toMatchObject({ error: { code: 'usage', sent: 'no' } });
    }
    expect(await execs()).toBe(before);
    // A name that looks like an option is one that can be had, whole.
    expect(await run('app', 'refs/heads/--upload-pack=x', 'cat a')).toMatchObject({ output: ['second'] });
    expect(await cli.json(['project', 'remove', 'known'])).toMatchObject({ removed: true });
  });

  test('a registered project has a name, a default, its machines, and goes from them when it is removed', async () => {
    here.repository('kept');
    const add = [
      'project',
      'add',
      'kept',
      '--repo',
      here.at('kept'),
      '--default-ref',
      'WORKTREE',
      '-m',
      'box',
    ];
    const view = await cli.json(add);
    const repo = { kind: 'path', path: here.at('kept') };
    expect(view).toMatchObject({
      ok: true,
      project: 'kept',
      repo,
      machines: ['box'],
      default_ref: 'WORKTREE',
    });
    expect(await cli.json(add, 1)).toMatchObject({ error: { code: 'project_exists' } });
    expect(await cli.json(['project', 'show', 'kept'])).toEqual(view);
    expect((await cli.json(['project', 'list'])).projects).toMatchObject([{ project: 'kept' }]);
    here.write('kept', 'a', 'as it is\n');
    const [, output] = await cli.lines(['exec', 'run', '-m', 'box', '--project', 'kept', '--', 'cat', 'a']);
    expect(output).toMatchObject({ type: 'log', line: 'as it is' });
    await cli.json(['machine', 'add', 'other', '--ssh', 'nobody@192.0.2.1']);
    const elsewhere = await cli.json(['exec', 'start', '-m', 'other', '--project', 'kept', '--', 'true'], 1);
    expect(elsewhere).toMatchObject({ error: { code: 'unknown_project', machine: 'other', sent: 'no' } });
    expect(await cli.json(['project', 'remove', 'kept', '--purge'])).toMatchObject({
      removed: true,
      mirrors: [{ machine: 'box', removed: true }],
    });
    expect(await cli.json(['project', 'show', 'kept'], 1)).toMatchObject({
      error: { code: 'unknown_project' },
    });
    expect(readFileSync(here.at('kept/a'), 'utf8')).toBe('as it is\n');
  });

  test('a project of a URL is fetched by the machine, and a URL that runs a program is none [row 89]', async () => {
    const before = await execs();
    const identity = '-c user.name=A -c user.email=a@example.org';
    const make = `git init -q -b main origin; cd origin; echo first >a; git add a; git ${identity} commit -qm 1; git rev-parse HEAD`;
    const made = await cli.lines(['exec', 'run', '-m', 'box', '--cmd', make]);
    const head = made.find(({ type }) => type === 'log')?.line;
    await cli.json([
      ...['project', 'add', 'origin', '--repo', `file://${lab.user.home}/origin`, '--default-ref', 'main'],
    ]);
    const start = ['exec', 'start', '-m', 'box', '--project', 'origin'];
    const { exec_id, commit } = await cli.json([...start, '--', 'cat', 'a']);
    expect([commit, (await cli.json(['exec', 'wait', '--id', String(exec_id)])).stdout_tail]).toEqual([
      head,
      'first\n',
    ]);
    expect((await refused('--project', 'origin', '--ref', 'nothing')).code).toBe('unknown_ref');
    expect((await refused('--project', 'origin', '--ref', 'WORKTREE')).code).toBe('unknown_ref');
    await cli.json([
      'project',
      'add',
      'away',
      '--repo',
      'https://127.0.0.1:1/app.git',
      '--default-ref',
      'main',
    ]);
    expect(await refused('--project', 'away')).toMatchObject({
      code: 'fetch_failed',
      git_stderr: expect.any(String),
    });
    const marker = here.at('ran');
    for (const url of [
      `ext::sh -c touch% ${marker}`,
      '-oProxyCommand=touch ran:x',
      'http://h/x',
      'ssh://-o/x',
    ])
      expect(await cli.json(['project', 'add', 'evil', `--repo=${url}`], 2)).toMatchObject({
        error: { code: 'usage', message: expect.stringContaining('--repo: the URL') },
      });
    expect([existsSync(marker), await execs()]).toEqual([false, before + 2]);
  });

  test('a machine whose policy names commands runs no project, and takes none of its commits', async () => {
    await cli.json(['machine', 'set', 'box', '--policy', 'allow', '--allow', 'true']);
    try {
      expect(await refused(...flags('app', 'main').slice(2))).toMatchObject({ code: 'policy_refused' });
    } finally {
      await cli.json(['machine', 'set', 'box', '--policy', 'full']);
    }
  });
});

/** Resolves when so many bytes have gone up. */
function seen(proxy: TcpProxy, bytes: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let left = bytes;
  void proxy.cutWhere('up', 'rst', (piece) => {
    left -= piece.byteLength;
    if (left < 0) resolve();
    return undefined;
  });
  return promise;
}
