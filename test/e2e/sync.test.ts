import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { Cli, cliProgram, needs, waitFor } from '@codex-remote/test/lab';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** Names to content, `null` for a folder, `-> target` for a link. */
type Shape = Readonly<Record<string, string | null>>;

function grow(root: string, shape: Shape): void {
  for (const [name, content] of Object.entries(shape)) {
    const path = join(root, name);
    mkdirSync(content === null ? path : dirname(path), { recursive: true });
    if (content?.startsWith('-> ')) symlinkSync(content.slice(3), path);
    else if (content !== null) writeFileSync(path, content);
  }
}

/** What is there, with modes and times; all but the times of folders and links is to be the same on the other side. */
function told(root: string): Record<string, string> {
  const tree: Record<string, string> = {};
  for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    const path = join(root, name);
    const stat = lstatSync(path);
    const mode = (stat.mode & 0o777).toString(8);
    if (stat.isSymbolicLink()) tree[name] = `-> ${readlinkSync(path)}`;
    else if (stat.isDirectory()) tree[name] = `folder ${mode}`;
    else tree[name] = `${mode} ${Math.round(stat.mtimeMs * 1000)} ${readFileSync(path, 'base64')}`;
  }
  return tree;
}

/** Trees of this host and of the machine `local`, whose home is the folder of the test. */
describe('folders on both sides', () => {
  let cli: Cli;
  let count = 0;
  const here = (...names: string[]): string => join(cli.home, ...names);
  const sync = (direction: 'push' | 'pull', args: string[], status = 0) =>
    cli.json(['sync', direction, '-m', 'local', ...args], status);
  /** A folder of the test's own, and one beside it that is not there yet. */
  const pair = (shape: Shape): { src: string; dst: string; args: string[] } => {
    const src = here(`tree${++count}`);
    const dst = here(`copy${count}`);
    grow(src, shape);
    return { src, dst, args: ['--src', src, '--dst', dst] };
  };

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
  });
  afterAll(() => cli?.close());

  test('a push brings what differs, and what git ignores stays here', async () => {
    const { src, dst, args } = pair({
      '.gitignore': 'build/\n',
      'build/out': 'ignored',
      'src/a b.c': 'int',
      'src/-x\n': 'odd',
      link: '-> src/a b.c',
      empty: null,
    });
    execFileSync('git', ['init', '-q', src]);
    expect(await sync('push', args)).toMatchObject({
      ok: true,
      machine: 'local',
      direction: 'push',
      src,
      dst,
      files: 3,
      directories: 2,
      links: 1,
      next_action: 'done',
    });
    const { 'build/out': _, build: __, ...sent } = told(src);
    const withoutGit = Object.fromEntries(
      Object.entries(sent).filter(([name]) => !/^\.git(?:$|\/)/.test(name)),
    );
    expect(told(dst)).toEqual(withoutGit);
    expect(await sync('push', args)).toMatchObject({ files: 0, changed: 0, unchanged: 6 });
    writeFileSync(join(src, 'src/a b.c'), 'long');
    expect(await sync('push', args)).toMatchObject({ files: 1, bytes: 4 });
  });

  test('whatever a tree is, pushed and pulled it is the same', async () => {
    const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }).map((drawn) => {
      return `n${drawn.replaceAll(/[/\0\ud800-\udfff]/gu, '-')}`;
    });
    const node = fc.oneof(
      fc.record({ path: fc.array(name, { minLength: 1, maxLength: 3 }), content: fc.uint8Array() }),
      fc.record({ path: fc.array(name, { minLength: 1, maxLength: 3 }), target: name }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(node, { maxLength: 12 }), async (nodes) => {
        const { src, dst, args } = pair({ '.': null });
        for (const drawn of nodes) {
          const path = join(src, ...drawn.path);
          try {
            mkdirSync(dirname(path), { recursive: true });
            if ('target' in drawn) symlinkSync(drawn.target, path);
            else
              writeFileSync(path, drawn.content, { mode: [0o644, 0o755, 0o400][drawn.content.length % 3] });
            if ('content' in drawn) utimesSync(path, 1, 1.7e9 + drawn.content.length / 7);
          } catch {
            // Another of them has the name.
          }
        }
        await sync('push', [...args, '--no-ignore']);
        const back = here(`back${count}`);
        await sync('pull', ['--src', dst, '--dst', back, '--no-ignore']);
        expect(told(back)).toEqual(told(src));
      }),
      { numRuns: 4 },
    );
  });

  test('a dry run tells what would be done; names that are excluded stay, those that are included travel', async () => {
    const { dst, args } = pair({ '.gitignore': '*.log\n', 'a.log': '', 'b.log': '', c: '', 'd/e': '' });
    const rules = ['--exclude', 'd', '--include', 'b.log'];
    const dry = await sync('push', [...args, ...rules, '--dry-run']);
    expect(dry).toMatchObject({ dry_run: true, files: 3 });
    expect(dry.changes).toEqual([
      { do: 'send', path: '.gitignore', size: 6 },
      { do: 'send', path: 'b.log', size: 0 },
      { do: 'send', path: 'c', size: 0 },
    ]);
    expect(existsSync(dst)).toBe(false);
    await sync('push', [...args, ...rules]);
    expect(readdirSync(dst).sort()).toEqual(['.gitignore', 'b.log', 'c']);
  });

  test('what the source does not have goes with --delete and --yes alone, and never .git or what is ignored', async () => {
    const { src, dst, args } = pair({ '.gitignore': 'build\n', a: '' });
    grow(dst, { 'build/x': '', 'old/y': '', '.git/config': '', 'sub/.git/HEAD': '', 'sub/z': '' });
    expect(await sync('push', args)).toMatchObject({ removed: 0 });
    expect(await sync('push', [...args, '--delete'], 2)).toMatchObject({
      error: { code: 'usage', message: expect.stringContaining('--yes') },
    });
    expect(existsSync(join(dst, 'old/y'))).toBe(true);
    expect(await sync('push', [...args, '--delete', '--yes'])).toMatchObject({ removed: 2, skipped: 1 });
    expect(Object.keys(told(dst)).sort()).toEqual(
      [
        '.git',
        '.git/config',
        '.gitignore',
        'a',
        'build',
        'build/x',
        'sub',
        'sub/.git',
        'sub/.git/HEAD',
        'sub/z',
      ].sort(),
    );
    // And the other way round.
    expect(await sync('pull', ['--src', dst, '--dst', src, '--delete', '--yes'])).toMatchObject({
      removed: 0,
    });
  });

  test('[row 94] a link that leads out is refused and named, all else travels', async () => {
    const { src, dst, args } = pair({ a: '', out: '-> ../../etc', 'd/up': '-> ../a' });
    execFileSync('mkfifo', [join(src, 'pipe')]);
    expect(await sync('push', args, 1)).toMatchObject({
      ok: false,
      error: { code: 'sync_incomplete' },
      refused: 1,
      refused_names: [{ path: 'out', why: expect.stringContaining('leads out') }],
      skipped_names: [{ path: 'pipe' }],
      files: 1,
      links: 1,
      next_action: 'fix-config',
    });
    expect(Object.keys(told(dst)).sort()).toEqual(['a', 'd', 'd/up']);
    symlinkSync('/etc', join(dst, 'evil'));
    expect(await sync('pull', ['--src', dst, '--dst', here('pulled')], 1)).toMatchObject({
      refused_names: [{ path: 'evil' }],
      files: 1,
    });
    expect(readdirSync(here('pulled')).sort()).toEqual(['a', 'd']);
  });

  test('[row 96] files that run by themselves are pulled where that is asked for, and pushed like all others', async () => {
    const { src, dst, args } = pair({
      a: '',
      '.envrc': 'x',
      '.vscode/tasks.json': '{}',
      'sub/AGENTS.md': '',
    });
    await sync('push', args);
    expect(told(dst)).toEqual(told(src));
    const pull = ['--src', dst, '--dst', here('held')];
    expect(await sync('pull', pull, 1)).toMatchObject({
      error: { code: 'sync_incomplete' },
      files: 1,
      refused: 4,
    });
    expect(Object.keys(told(here('held')))).toEqual(['a', 'sub']);
    expect(await sync('pull', [...pull, '--allow-autorun'])).toMatchObject({ files: 3 });
    expect(told(here('held'))).toEqual(told(src));
    // What is the same is no reason to say anything.
    expect(await sync('pull', pull)).toMatchObject({ files: 0, refused: 0 });
  });

  test('of a large file that has changed little, little travels', async () => {
    const { src, dst, args } = pair({ '.': null });
    writeFileSync(join(src, 'large'), randomBytes(8_000_000));
    await sync('push', args);
    appendFileSync(join(src, 'large'), 'and some more');
    const again = await sync('push', args);
    expect(again).toMatchObject({ files: 1, bytes: 8_000_013 });
    expect(Number(again.sent_bytes) + Number(again.received_bytes)).toBeLessThan(800_000);
    expect(readFileSync(join(dst, 'large')).equals(readFileSync(join(src, 'large')))).toBe(true);
  });

  test('what is wrong is said before anything is sent; a folder there that is not is named', async () => {
    const { args, src } = pair({ file: '' });
    const usage = { error: { code: 'usage', sent: 'no' } };
    expect(await sync('push', ['--src', here('nothing'), '--dst', 'x'], 2)).toMatchObject(usage);
    expect(await sync('push', ['--src', join(src, 'file'), '--dst', 'x'], 2)).toMatchObject(usage);
    expect(await sync('push', ['--dst', 'x'], 2)).toMatchObject(usage);
    expect(await sync('push', [...args, '--watch', '--dry-run'], 2)).toMatchObject(usage);
    expect(await sync('pull', ['--src', here('nothing'), '--dst', here('new')], 1)).toMatchObject({
      error: { code: 'file_not_found', machine: 'local' },
    });
    expect(existsSync(here('new'))).toBe(false);
    expect(await sync('push', ['--src', src, '--dst', join(src, 'file')], 1)).toMatchObject({
      error: { machine: 'local' },
    });
    expect(statSync(join(src, 'file')).size).toBe(0);
  });

  test('at a terminal a removal is asked for, with what would go', async () => {
    const { args } = pair({ a: '' });
    const [, , , dst = ''] = args;
    grow(dst, { old: '' });
    const { CODEX_REMOTE_OUTPUT: _json, ...env } = cli.env;
    const line = [cliProgram, 'sync', 'push', '-m', 'local', ...args, '--delete'].join(' ');
    const answered = (input: string) =>
      spawnSync('script', ['-qec', line, '/dev/null'], {
        input,
        env: { ...env, SHELL: '/bin/sh', TERM: 'xterm' },
      });
    const no = answered('n\n');
    expect(no.stdout.toString()).toContain('remove 1 (old)?');
    expect(no.status).toBe(2);
    expect(readdirSync(dst)).toEqual(['old']);
    const yes = answered('y\n');
    expect(yes.stdout.toString()).toMatch(/1 file \(0 B\), 1 removed in /);
    expect(yes.status).toBe(0);
    expect(readdirSync(dst)).toEqual(['a']);
  });

  test('a push that is interrupted says how to go on, and leaves what it has for that', async () => {
    const { src, dst, args } = pair({ '.': null });
    writeFileSync(join(src, 'large'), '');
    truncateSync(join(src, 'large'), 4_000_000_000);
    const child = cli.spawn(['sync', 'push', '-m', 'local', ...args]);
    const parts = (): string[] =>
      existsSync(join(dst, '.cr-sync')) ? readdirSync(join(dst, '.cr-sync')) : [];
    await waitFor('a part on the machine', () => parts().some((name) => name.startsWith('w-')));
    child.kill('SIGINT');
    const { value: line } = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next();
    expect(JSON.parse(String(line))).toMatchObject({
      ok: false,
      error: { code: 'cancelled', retryable: true, hint: expect.stringContaining('goes on') },
    });
    await waitFor('the part to be left', () => parts().some((name) => name.startsWith('p-')));
    expect(existsSync(join(dst, 'large'))).toBe(false);
  });

  test.for(['push', 'pull'] as const)(
    'a %s onto a full disk is disk_low, and goes on once there is room',
    async (direction, context) => {
      needs(context, 'root');
      const { src, dst, args } = pair({ a: 'first', 'sub/z': 'last' });
      for (const name of ['m', 'n', 'o']) writeFileSync(join(src, name), randomBytes(1_500_000));
      mkdirSync(dst);
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3500k', 'tmpfs', dst]);
      try {
        const old = { old: 'kept' };
        grow(dst, old);
        const full = await sync(direction, args, 1);
        expect(full.error).toMatchObject({ code: 'disk_low', hint: expect.any(String) });
        // What is in its place is whole.
        const whole = told(src);
        for (const [name, is] of Object.entries(told(dst)))
          if (name in whole) expect([name, is]).toEqual([name, whole[name]]);
        expect(readFileSync(join(dst, 'old'), 'utf8')).toBe('kept');
        execFileSync('mount', ['-o', 'remount,size=32m', dst]);
        expect(await sync(direction, args)).toMatchObject({ ok: true, next_action: 'done' });
        rmSync(join(dst, 'old'));
        expect(told(dst)).toEqual(told(src));
      } finally {
        execFileSync('umount', [dst]);
      }
    },
  );

  test('a tree that is watched is pushed again when it changes, until it is told to stop', async () => {
    const { src, dst, args } = pair({ a: '1' });
    const child = cli.spawn(['sync', 'push', '-m', 'local', ...args, '--watch', '--delete', '--yes']);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const next = async (): Promise<unknown> => JSON.parse(String((await lines.next()).value));
    expect(await next()).toMatchObject({ type: 'synced', ok: true, files: 1 });
    grow(src, { 'new/b': '2' });
    // A change in the middle of a pass is another pass.
    for (let files = 0; files < 1; ) files += Number(((await next()) as { files: number }).files);
    expect(readFileSync(join(dst, 'new/b'), 'utf8')).toBe('2');
    rmSync(join(src, 'a'));
    expect(await next()).toMatchObject({ type: 'synced', removed: 1 });
    child.kill('SIGINT');
    expect(await next()).toMatchObject({ type: 'end', ok: true, machine: 'local' });
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(0);
  });
});
