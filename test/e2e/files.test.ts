import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Cli } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

/** Files of the machine `local`, whose home is the folder of the test. */
describe('files of a machine', () => {
  let cli: Cli;
  const here = (name: string): string => join(cli.home, name);
  const file = (verb: string, ...args: string[]) => cli.json(['file', verb, '-m', 'local', ...args]);
  const refused = (verb: string, ...args: string[]) => cli.json(['file', verb, '-m', 'local', ...args], 1);

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
  });
  afterAll(() => cli?.close());

  test('a text is read with all that is known of it, from the home, as ~/ and by its absolute path', async () => {
    writeFileSync(here('text'), 'grüße\n', { mode: 0o640 });
    utimesSync(here('text'), 1_000_000_000, 1_000_000_000.5);
    for (const path of ['text', '~/text', here('text')])
      expect(await file('read', path)).toMatchObject({
        ok: true,
        machine: 'local',
        path: here('text'),
        type: 'file',
        size: 8,
        mode: '0640',
        mtime: '2001-09-09T01:46:40.500Z',
        from: 0,
        bytes: 8,
        content: 'grüße\n',
        complete: true,
        sha256: sha256('grüße\n'),
      });
  });

  test('what is not UTF-8 is base64, ranges are exact, and a cut answer names the line that goes on', async () => {
    const bytes = randomBytes(1000);
    bytes[0] = 0xff;
    writeFileSync(here('bytes'), bytes);
    const first = await file('read', 'bytes', '--max-bytes', '300');
    expect(first).toMatchObject({ from: 0, bytes: 300, complete: false, next_from: 300 });
    expect(first.sha256).toBeUndefined();
    expect(Buffer.from(String(first.content_b64), 'base64').equals(bytes.subarray(0, 300))).toBe(true);
    const rest = await cli.json(String(first.next_command).split(' ').slice(1));
    expect(rest).toMatchObject({ from: 300, bytes: 700, complete: true });
    expect(Buffer.from(String(rest.content_b64), 'base64').equals(bytes.subarray(300))).toBe(true);
    expect(await file('read', 'bytes', '--from', '5000')).toMatchObject({ bytes: 0, complete: true });
    // The next line is about this content only.
    appendFileSync(here('bytes'), 'x');
    expect(await cli.json(String(first.next_command).split(' ').slice(1), 1)).toMatchObject({
      error: { code: 'file_changed', retryable: true, machine: 'local' },
    });
  });

  test('an answer holds 1 MiB, and never half a character', async () => {
    const text = 'ü'.repeat(600_000);
    writeFileSync(here('umlauts'), `x${text}`);
    const first = await file('read', 'umlauts');
    expect(first).toMatchObject({ complete: false, bytes: 1024 * 1024 - 1, next_from: 1024 * 1024 - 1 });
    const rest = await cli.json(String(first.next_command).split(' ').slice(1));
    expect(`${first.content}${rest.content}` === `x${text}`).toBe(true);
  });

  test('raw bytes are the bytes, and --dst has them with the mode that scp would give', async () => {
    const bytes = randomBytes(3_000_000);
    writeFileSync(here('big'), bytes);
    chmodSync(here('big'), 0o751);
    const raw = await cli.run(['file', 'read', '-m', 'local', '--raw', 'big']);
    expect([raw.status, raw.stderr, raw.stdout.equals(bytes)]).toEqual([0, '', true]);
    const part = await cli.run([
      'file',
      'read',
      '-m',
      'local',
      '--raw',
      'big',
      '--from',
      '7',
      '--max-bytes',
      '9',
    ]);
    expect(part.stdout.equals(bytes.subarray(7, 16))).toBe(true);
    mkdirSync(here('into'));
    expect(await file('read', 'big', '--dst', 'into')).toMatchObject({
      dst: here('into/big'),
      bytes: bytes.byteLength,
      complete: true,
      sha256: sha256(bytes),
    });
    expect(readFileSync(here('into/big')).equals(bytes)).toBe(true);
    expect(statSync(here('into/big')).mode & 0o777).toBe(0o751 & ~process.umask());
    // One that is there keeps its mode; one that cannot be had leaves it as it was.
    chmodSync(here('into/big'), 0o600);
    await file('read', 'text', '--dst', 'into/big');
    expect([readFileSync(here('into/big'), 'utf8'), statSync(here('into/big')).mode & 0o777]).toEqual([
      'grüße\n',
      0o600,
    ]);
    await refused('read', 'nothing', '--dst', 'into/big');
    expect(readFileSync(here('into/big'), 'utf8')).toBe('grüße\n');
    expect(readdirSync(here('into'))).toEqual(['big']);
  });

  test('files of the kernel, which say that they are empty, are read to their end', async () => {
    const answer = await file('read', '/proc/self/status');
    expect(answer).toMatchObject({ size: 0, complete: true });
    expect(String(answer.content)).toContain('VmRSS');
  });

  test('what is no regular file is an error with its own code, at once', async () => {
    execFileSync('mkfifo', [here('fifo')]);
    symlinkSync('nowhere', here('dangling'));
    symlinkSync('loop', here('loop'));
    const codes: Record<string, string> = {
      nothing: 'file_not_found',
      'text/below': 'not_directory',
      '.': 'is_directory',
      fifo: 'file_type',
      '/dev/zero': 'file_type',
      dangling: 'file_not_found',
      loop: 'file_type',
      ['x'.repeat(300)]: 'too_large',
    };
    for (const [path, code] of Object.entries(codes))
      expect(await refused('read', path), path).toMatchObject({
        ok: false,
        error: { code, machine: 'local', hint: expect.any(String), message: expect.stringContaining('read') },
      });
    expect(await refused('list', 'text')).toMatchObject({
      error: { code: 'not_directory' },
      next_command: `codex-remote file stat -m local ${here('text')}`,
    });
    expect(await refused('read', "it's not/there")).toMatchObject({
      next_command: `codex-remote file list -m local '${here("it'\\''s not")}'`,
    });
  });

  test('a path that cannot be meant is wrong usage', async () => {
    for (const args of [[], ['a', '--path-b64', 'YQ=='], ['--path-b64', 'YQBi'], ['p'.repeat(5000)]])
      expect(await cli.json(['file', 'read', '-m', 'local', ...args], 2)).toMatchObject({
        error: { code: 'usage', sent: 'no' },
      });
  });

  test('stat tells what a name itself is, and the digest on request', async () => {
    symlinkSync('text', here('link'));
    expect(await file('stat', 'link')).toMatchObject({ type: 'symlink', target: 'text', path: here('link') });
    expect(await file('stat', 'link', '--sha256')).toMatchObject({ sha256: sha256('grüße\n') });
    expect(await file('stat', '/tmp')).toMatchObject({ type: 'directory', mode: '1777' });
    expect(await refused('stat', 'nothing')).toMatchObject({ error: { code: 'file_not_found' } });
  });

  test('names with newlines, dashes, escapes and bytes that are no UTF-8 are listed exactly, and each can be read', async () => {
    mkdirSync(here('odd'));
    const names = ['--raw', '-', 'a\nb', ' ', 'ünï', '\u001b[2J', '"quote\'', '~'].map((name) =>
      Buffer.from(name),
    );
    names.push(Buffer.from([0xff, 0xfe]));
    for (const name of names) writeFileSync(Buffer.concat([Buffer.from(`${here('odd')}/`), name]), name);
    const { entries, total, more } = (await file('list', 'odd')) as {
      entries: { name?: string; name_b64?: string; size: number }[];
      total: number;
      more: boolean;
    };
    expect([total, more]).toEqual([names.length, false]);
    const listed = entries.map(({ name, name_b64 }) =>
      name === undefined ? Buffer.from(name_b64 ?? '', 'base64') : Buffer.from(name),
    );
    expect(listed).toEqual([...names].sort(Buffer.compare));
    for (const name of names) {
      const path = Buffer.concat([Buffer.from('odd/'), name]);
      const answer = await file('read', '--path-b64', path.toString('base64'));
      expect(answer.content ?? Buffer.from(String(answer.content_b64), 'base64')).toEqual(
        answer.content === undefined ? name : name.toString(),
      );
    }
    expect(await file('read', '--path=odd/--raw')).toMatchObject({ content: '--raw' });
    // For people nothing of it makes a line of its own, or acts on the terminal.
    const human = await cli.run(['file', 'list', '-m', 'local', '--human', 'odd']);
    expect(human.stdout.toString()).not.toContain('\u001b');
    expect(human.stdout.toString().trim().split('\n')).toHaveLength(names.length + 1);
  });

  test('a large folder comes in pages that a cursor joins', async () => {
    mkdirSync(here('many'));
    const names = Array.from({ length: 2_500 }, (_, i) => `f${i}`).sort();
    for (const name of names) writeFileSync(here(`many/${name}`), '');
    const found: string[] = [];
    for (let args = ['file', 'list', '-m', 'local', 'many']; ; ) {
      const page = (await cli.json(args)) as {
        entries: { name: string }[];
        total: number;
        more: boolean;
        next_command?: string;
      };
      found.push(...page.entries.map(({ name }) => name));
      expect(page.total).toBe(2_500);
      expect(page.more).toBe(page.next_command !== undefined);
      if (page.next_command === undefined) break;
      args = page.next_command.split(' ').slice(1);
    }
    expect(found).toEqual(names);
  });

  test('a write says what is there, keeps modes, and makes folders only when told to', async () => {
    expect(await file('write', 'w/notes', '--content', 'erste\n', '--parents', '--mode', '0604')).toEqual({
      ok: true,
      machine: 'local',
      path: here('w/notes'),
      size: 6,
      sha256: sha256('erste\n'),
      mode: '0604',
      created: true,
    });
    expect(await file('write', 'w/notes', '--content', 'zweite')).toMatchObject({
      created: false,
      mode: '0604',
    });
    expect([readFileSync(here('w/notes'), 'utf8'), readdirSync(here('w'))]).toEqual(['zweite', ['notes']]);
    expect(await refused('write', 'v/notes', '--content', 'x')).toMatchObject({
      error: { code: 'file_not_found', sent: 'yes' },
    });
    expect(await file('write', 'w/empty', '--content', '')).toMatchObject({ size: 0 });
  });

  test('a write takes a local file or our stdin, and names that look like flags', async () => {
    const bytes = randomBytes(2_000_000);
    writeFileSync(here('source'), bytes);
    await file('write', 'w/copy', '--src', 'source');
    expect(readFileSync(here('w/copy')).equals(bytes)).toBe(true);
    const piped = await cli.json(['file', 'write', '-m', 'local', '--path=--mode', '--src', '-'], 0, {
      input: bytes,
    });
    expect(piped).toMatchObject({ path: here('--mode'), size: bytes.byteLength, sha256: sha256(bytes) });
    expect(readFileSync(here('--mode')).equals(bytes)).toBe(true);
    const odd = Buffer.concat([Buffer.from('w/a\nb'), Buffer.from([0xff])]);
    expect(await file('write', '--path-b64', odd.toString('base64'), '--content', 'odd')).toMatchObject({
      path_b64: Buffer.concat([Buffer.from(`${cli.home}/`), odd]).toString('base64'),
    });
  });

  test('--expect-sha256 and --create-only write only onto what they expect', async () => {
    await file('write', 'cas', '--content', 'one', '--create-only');
    expect(await refused('write', 'cas', '--content', 'two', '--create-only')).toMatchObject({
      error: { code: 'file_exists', sent: 'yes' },
    });
    const { sha256: seen } = await file('read', 'cas');
    expect(await file('write', 'cas', '--content', 'two', '--expect-sha256', String(seen))).toMatchObject({
      created: false,
    });
    expect(
      await refused('write', 'cas', '--content', 'three', '--expect-sha256', String(seen)),
    ).toMatchObject({
      error: { code: 'conflict', message: expect.stringContaining('conflict'), sha256: sha256('two') },
    });
    // A refusal comes at once, also to who would go on sending for ever.
    const endless = cli.spawn(['file', 'write', '-m', 'local', 'cas', '--src', '-', '--create-only']);
    const stop = setInterval(() => endless.stdin.write(Buffer.alloc(100_000)), 1);
    endless.stdin.on('error', () => undefined);
    const output: Buffer[] = [];
    endless.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    const status = await new Promise((resolve) => endless.once('close', resolve));
    clearInterval(stop);
    expect([status, JSON.parse(Buffer.concat(output).toString())]).toMatchObject([
      1,
      { error: { code: 'file_exists' } },
    ]);
    expect(readFileSync(here('cas'), 'utf8')).toBe('two');
  });

  test('concurrent writers of one file leave the whole content of one of them', async () => {
    const contents = Array.from({ length: 6 }, (_, i) => `${i}`.repeat(300_000));
    await Promise.all(
      contents.map((content, i) => {
        writeFileSync(here(`writer-${i}`), content);
        return file('write', 'contended', '--src', `writer-${i}`);
      }),
    );
    expect(contents.includes(readFileSync(here('contended'), 'utf8'))).toBe(true);
    expect(readdirSync(cli.home).filter((name) => name.startsWith('.cr-'))).toEqual([]);
  });

  test('wrong usage of a write is told, and nothing is sent', async () => {
    for (const args of [
      ['x'],
      ['x', '--content', 'a', '--src', 'text'],
      ['x', '--src', 'no-such-file'],
      ['x', '--content', 'a', '--create-only', '--expect-sha256', sha256('')],
      ['x', '--content', 'a', '--mode', 'rw'],
    ])
      expect(await cli.json(['file', 'write', '-m', 'local', ...args], 2)).toMatchObject({
        error: { code: 'usage', sent: 'no' },
      });
  });

  test('folders are made and removed; --recursive needs --yes, and the home is never removed', async () => {
    expect(await file('mkdir', 'tree/a/b', '--parents', '--mode', '0700')).toMatchObject({
      path: here('tree/a/b'),
      mode: '0700',
      created: true,
    });
    expect(await refused('mkdir', 'tree')).toMatchObject({ error: { code: 'file_exists' } });
    writeFileSync(here('tree/a/file'), '');
    symlinkSync(here('text'), here('tree/a/link'));
    expect(await refused('remove', 'tree')).toMatchObject({ error: { code: 'directory_not_empty' } });
    const asked = await cli.json(['file', 'remove', '-m', 'local', 'tree', '--recursive'], 2);
    expect(asked).toMatchObject({ error: { code: 'usage', message: expect.stringContaining('--yes') } });
    expect(await file('remove', 'tree/a/link')).toMatchObject({ type: 'symlink', removed: 1 });
    expect(await file('remove', 'tree', '--recursive', '--yes')).toMatchObject({ removed: 4 });
    expect(existsSync(here('tree'))).toBe(false);
    expect(readFileSync(here('text'), 'utf8')).toBe('grüße\n');
    for (const path of ['~', '/', here('.'), cli.home, '..'])
      expect(await refused('remove', path, '--recursive', '--yes')).toMatchObject({
        error: { code: 'file_not_permitted' },
      });
    expect(await refused('remove', 'nothing')).toMatchObject({ error: { code: 'file_not_found' } });
  });

  test('what is written, removed and made is in the audit log before it is done; the content never is', async () => {
    await file('write', 'noted', '--content', 'never shown', '--create-only');
    await refused('write', 'noted', '--content', 'x', '--create-only');
    await file('remove', 'noted');
    await file('mkdir', 'noted');
    const { entries } = (await cli.json(['audit', 'list', '--verb', 'file', '--limit', '8'])) as {
      entries: Record<string, unknown>[];
    };
    const about = { machine: 'local', principal: `uid:${process.getuid?.()}`, source: 'unix' };
    const path = 'noted';
    expect(entries.reverse()).toMatchObject([
      { ...about, verb: 'file.write', result: 'requested', facts: { path, create_only: true } },
      {
        ...about,
        verb: 'file.write',
        result: 'done',
        facts: { path, size: 11, sha256: sha256('never shown'), created: true },
      },
      { ...about, verb: 'file.write', result: 'requested' },
      { ...about, verb: 'file.write', result: 'failed', reason: expect.stringContaining('file_exists') },
      { ...about, verb: 'file.remove', result: 'requested', facts: { path } },
      { ...about, verb: 'file.remove', result: 'done', facts: { path, type: 'file', removed: 1 } },
      { ...about, verb: 'file.mkdir', result: 'requested', facts: { path } },
      { ...about, verb: 'file.mkdir', result: 'done', facts: { path, created: true } },
    ]);
    expect(JSON.stringify(entries)).not.toContain('never shown');
  });

  test('under the policies read-only and allow files are read and not changed', async () => {
    for (const policy of [['read-only'], ['allow', '--allow', 'uptime']]) {
      await cli.json(['machine', 'set', 'local', '--policy', ...policy]);
      for (const args of [
        ['write', 'text', '--content', 'x'],
        ['remove', 'text'],
        ['mkdir', 'new'],
      ])
        expect(await cli.json(['file', ...args, '-m', 'local'], 1)).toMatchObject({
          error: { code: 'policy_refused', sent: 'no', refused_by: 'controller' },
          next_command: 'codex-remote machine show -m local',
        });
      expect(await file('read', 'text')).toMatchObject({ content: 'grüße\n' });
    }
    await cli.json(['machine', 'set', 'local', '--policy', 'full']);
    await cli.json(['machine', 'up', 'local']);
    expect(await file('write', 'text', '--content', 'x')).toMatchObject({ created: false });
  });
});
