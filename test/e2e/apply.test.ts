import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cli, cliProgram, SshLab, TcpProxy, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { treeOf } from '../../packages/client/test/apply/support.ts';
import { GitLab } from '../../packages/client/test/git/support/lab.ts';

const mb = 1024 * 1024;
type Answer = Record<string, unknown>;

/** A repository here, and the machine `box` behind SSH, over a network that can break. */
describe('what an exec made of its worktree comes back', () => {
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

  /** Runs a line in the files of a repository as they are. */
  const run = async (folder: string, id: string, line: string, ...more: string[]): Promise<Answer> => {
    const project = ['-m', 'box', '--project', here.at(folder), '--ref', 'WORKTREE', ...more];
    const lines = await cli.lines(['exec', 'run', '--id', id, ...project, '--', 'sh', '-ec', line]);
    return lines.at(-1) ?? {};
  };
  const diff = (id: string, ...more: string[]) => cli.json(['exec', 'diff', '--id', id, ...more]);
  const apply = (folder: string, id: string, status = 0, ...more: string[]) =>
    cli.json(['exec', 'apply', '--id', id, '--dir', here.at(folder), ...more], status);

  test('onto files that nobody has committed, in the folder they came from', async () => {
    here.repository('app');
    for (const name of ['text', ' s p ', '-n', 'new\nline', 'gone']) here.write('app', name, `${name}\n`);
    here.write('app', '.gitignore', 'cache\n');
    const line = [
      'echo more >> text; echo more >> " s p "; printf x > ./-n; rm gone; chmod +x a',
      'head -c 3000 /dev/urandom > binary; mkdir -p new/folder; echo n > new/folder/n; echo c > cache',
      'printf "#!/bin/sh\\nexit 1\\n" > .envrc; mkdir .claude; echo {} > .claude/settings.json; ln -s /etc/passwd out',
    ].join('\n');
    const { worktree } = await run('app', 'edits', line);
    const before = treeOf(here.at('app'));
    const found = await diff('edits', '--stat');
    expect(found).toMatchObject({ final: true, files_total: 10, exec_id: 'edits', dirty: true });
    const files = found.files as Answer[];
    expect(files.find(({ path }) => path === 'gone')).toMatchObject({ status: 'deleted', deleted_lines: 1 });
    expect(files.find(({ path }) => path === 'binary')).toMatchObject({ status: 'added', new_size: 3000 });
    expect(await diff('edits')).toMatchObject({ complete: true, patch: expect.stringContaining('+more\n') });

    const preview = await apply('app', 'edits', 1, '--dry-run');
    expect(treeOf(here.at('app'))).toEqual(before);
    const applied = await apply('app', 'edits', 1);
    expect({ ...applied, dry_run: true }).toEqual(preview);
    expect(applied).toMatchObject({
      files_total: 7,
      complete: false,
      held: [
        { path: '.claude/settings.json', why: 'agent' },
        { path: '.envrc', why: 'shell' },
      ],
      refused: [{ path: 'out', why: 'link_outside' }],
    });
    const next = String(applied.next_command).split(' ').slice(1);
    expect(await cli.json([...next, '--dir', here.at('app')], 1)).toMatchObject({ unchanged: 7, held: [] });
    const { out, cache, ...there } = treeOf(String(worktree));
    expect([out, cache]).toEqual(['-> /etc/passwd', '- c\n']);
    expect(treeOf(here.at('app'))).toEqual(there);
    // What git itself makes of the patch is the same.
    const { stdout } = await cli.run(['exec', 'diff', '--id', 'edits', '--raw']);
    here.run('app', ['apply', '-R', '--binary', '--exclude=out', '-'], stdout);
    expect(treeOf(here.at('app'))).toEqual(before);
  });

  test('from the folder that the caller is in, and nowhere where it did not come from', async () => {
    here.repository('mine');
    here.repository('other');
    here.write('mine', 'b', 'b\n');
    here.commit('mine');
    await run('mine', 'second', 'echo there > a');
    expect((await apply('other', 'second', 1)).error).toMatchObject({ code: 'unknown_ref' });
    expect((await apply('.', 'second', 1)).error).toMatchObject({ code: 'not_repository' });
    here.write('mine', 'a', 'mine\n');
    expect((await apply('mine', 'second', 1)).error).toMatchObject({
      ...{ code: 'tree_drifted', files: ['a'] },
      hint: expect.stringContaining('nothing was changed'),
    });
    expect(readFileSync(here.at('mine', 'a'), 'utf8')).toBe('mine\n');
    here.write('mine', 'a', 'first\n');
    const inside = cli.using(['env', '-C', here.at('mine'), cliProgram]);
    expect(await inside.json(['exec', 'apply', '--id', 'second'])).toMatchObject({
      files: [{ path: 'a', status: 'modified' }],
      complete: true,
    });
    expect(readFileSync(here.at('mine', 'a'), 'utf8')).toBe('there\n');
  });

  test('of one that runs it is told as it is now, and not applied; of one without a project there is none', async () => {
    here.repository('runs');
    const go = join(lab.user.home, 'go');
    const line = `echo now > a; echo ready; while [ ! -e ${go} ]; do sleep 0.05; done`;
    const project = ['-m', 'box', '--project', here.at('runs'), '--ref', 'main'];
    await cli.json(['exec', 'start', '--id', 'running', ...project, '--', 'sh', '-c', line]);
    await waitFor(
      'the job',
      async () => (await cli.json(['exec', 'result', '--id', 'running'])).stdout_bytes === 6,
    );
    expect(await diff('running')).toMatchObject({ final: false, files_total: 1 });
    expect((await apply('runs', 'running', 1)).error).toMatchObject({ code: 'exec_running' });
    writeFileSync(go, '');
    await cli.json(['exec', 'wait', '--id', 'running']);
    expect(await diff('running')).toMatchObject({ final: true, files_total: 1 });
    await cli.lines(['exec', 'run', '--id', 'plain', '-m', 'box', '--cmd', 'true']);
    expect((await cli.json(['exec', 'diff', '--id', 'plain'], 1)).error).toMatchObject({
      code: 'no_worktree',
    });
  });

  test('a patch whose connection breaks goes on where it was, and is whole [row 50]', async () => {
    here.repository('large');
    const made = await cli.lines([
      ...['exec', 'run', '--id', 'large', '-m', 'box', '--project', here.at('large'), '--ref', 'main'],
      ...['--', 'sh', '-ec', `head -c ${6 * mb} /dev/urandom > big; sha256sum < big`],
    ]);
    const cut = proxy.cutAfter('down', 3 * mb);
    const applying = apply('large', 'large');
    await cut;
    expect(await applying).toMatchObject({ files: [{ path: 'big', status: 'added' }] });
    const sha256 = createHash('sha256')
      .update(readFileSync(here.at('large/big')))
      .digest('hex');
    expect(made.find(({ type }) => type === 'log')?.line).toBe(`${sha256}  -`);
  });

  test('a commit of a repository of SHA-256, in a workspace that goes on to the next', async () => {
    here.repository('sha256', '--object-format=sha256');
    await run('sha256', 'w1', 'echo one > a', '--workspace', 'w');
    await run('sha256', 'w2', 'echo two > a', '--workspace', 'w');
    expect(await apply('sha256', 'w1')).toMatchObject({ files_total: 1 });
    expect(readFileSync(here.at('sha256/a'), 'utf8')).toBe('one\n');
  });
});
