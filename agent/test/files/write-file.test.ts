import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FileWritten } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FileWriter, type WriteBody, type WriteOrder } from '../../src/files/write-file.ts';
import { bodyOf } from '../support/write-body.ts';

let dir: string;
let notes: string;
let writer: FileWriter;
let count = 0;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'write-'));
  notes = mkdtempSync(join(tmpdir(), 'notes-'));
  writer = new FileWriter(notes);
});
afterEach(() => {
  for (const each of [dir, notes]) rmSync(each, { recursive: true });
});

const here = (name: string): string => join(dir, name);
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const newId = (): string => `write${String(count++).padStart(15, '0')}`;

function write(
  name: string,
  content: string,
  more: Partial<WriteOrder> = {},
  body: WriteBody = bodyOf(Buffer.from(content)),
  goesOn: () => void = () => undefined,
): Promise<FileWritten> {
  const order = { write_id: newId(), create_only: false, parents: false, umask: 0o027, ...more };
  return writer.write({ path: Buffer.from(here(name)), ...order }, body, goesOn);
}

/** All that is in the folder, and the content of a file. */
const names = (): string[] => readdirSync(dir).sort();
const text = (name: string): string => readFileSync(here(name), 'utf8');

describe('a write', () => {
  test('makes a file with what the umask leaves, and says what is there', async () => {
    expect(await write('f', 'new')).toEqual({
      path: here('f'),
      size: 3,
      sha256: sha256('new'),
      mode: 0o640,
      created: true,
    });
    expect([text('f'), statSync(here('f')).mode & 0o7777, names()]).toEqual(['new', 0o640, ['f']]);
  });

  test('keeps the mode of the file that it replaces, unless it is told another', async () => {
    writeFileSync(here('f'), 'old');
    chmodSync(here('f'), 0o604);
    expect(await write('f', 'new')).toMatchObject({ mode: 0o604, created: false });
    expect(statSync(here('f')).mode & 0o7777).toBe(0o604);
    expect(await write('f', 'newer', { mode: 0o4711 })).toMatchObject({ mode: 0o4711 });
    expect([text('f'), statSync(here('f')).mode & 0o7777, names()]).toEqual(['newer', 0o4711, ['f']]);
  });

  test('follows links, which stay, and replaces what they lead to in its own folder', async () => {
    mkdirSync(here('real'));
    writeFileSync(here('real/f'), 'old');
    symlinkSync('real/f', here('one'));
    symlinkSync('one', here('two'));
    symlinkSync('real', here('folder'));
    await write('two', 'new');
    expect([text('real/f'), readlinkSync(here('two')), readdirSync(here('real'))]).toEqual([
      'new',
      'one',
      ['f'],
    ]);
    await write('folder/g', 'there');
    expect(text('real/g')).toBe('there');
  });

  test('leaves other names of the file before it as they are', async () => {
    writeFileSync(here('f'), 'old');
    linkSync(here('f'), here('other'));
    await write('f', 'new');
    expect([text('f'), text('other')]).toEqual(['new', 'old']);
  });

  test('makes the folders on its way only when it is told to', async () => {
    await expect(write('a/b/f', 'x')).rejects.toMatchObject({ code: 'file_not_found' });
    expect(names()).toEqual([]);
    await write('a/b/f', 'x', { parents: true });
    expect([text('a/b/f'), statSync(here('a/b')).mode & 0o7777]).toEqual(['x', 0o750]);
  });

  test.each<[string, () => void, Partial<WriteOrder>, string]>([
    ['a directory', () => mkdirSync(here('f')), {}, 'is_directory'],
    ['a FIFO', () => execFileSync('mkfifo', [here('f')]), {}, 'file_type'],
    ['a link that leads nowhere', () => symlinkSync('nowhere', here('f')), {}, 'file_type'],
    ['a loop of links', () => symlinkSync('f', here('f')), {}, 'file_type'],
    ['a file, with create_only', () => writeFileSync(here('f'), 'old'), { create_only: true }, 'file_exists'],
    ['a link, with create_only', () => symlinkSync('x', here('f')), { create_only: true }, 'file_exists'],
    ['nothing, with a digest', () => undefined, { expect_sha256: sha256('') }, 'conflict'],
    [
      'another content',
      () => writeFileSync(here('f'), 'old'),
      { expect_sha256: sha256('older') },
      'conflict',
    ],
    ['a disk without so much room', () => undefined, { size: 2 ** 52 }, 'disk_low'],
  ])(
    'where there is %s changes nothing and says so before the content is taken',
    async (_what, make, more, code) => {
      make();
      const before = names();
      let taken = 0;
      const body = bodyOf(Buffer.from('new'), () => {
        taken += 1;
      });
      await expect(write('f', 'new', more, body)).rejects.toMatchObject({
        code,
        details: { hint: expect.any(String), facts: { path: here('f') } },
      });
      expect([names(), taken, readdirSync(notes)]).toEqual([before, 0, []]);
      if (lstatSync(here('f'), { throwIfNoEntry: false })?.isFile()) expect(text('f')).toBe('old');
    },
  );

  test.each(['f/', '.', '..', 'd/..'])('to %s is refused: it names a directory', async (name) => {
    mkdirSync(here('d'));
    const path = Buffer.from(`${dir}/${name}`);
    await expect(write('', 'x', { path })).rejects.toMatchObject({ code: 'is_directory' });
  });

  test('that breaks off, or whose content is not what was said, leaves nothing', async () => {
    writeFileSync(here('f'), 'old');
    const cut = bodyOf(Buffer.alloc(200_000), (at) => {
      if (at > 100_000) throw new RemoteError('connection_reset', 'cut');
    });
    await expect(write('f', '', {}, cut)).rejects.toMatchObject({ code: 'connection_reset' });
    const lie = { ...bodyOf(Buffer.from('new')), whole: () => ({ bytes: 3, sha256: sha256('other') }) };
    await expect(write('f', '', {}, lie)).rejects.toMatchObject({ code: 'stream_cut' });
    const gone = (): never => {
      throw new RemoteError('cancelled', 'gone');
    };
    await expect(write('f', 'new', {}, undefined, gone)).rejects.toMatchObject({ code: 'cancelled' });
    expect([text('f'), names(), readdirSync(notes)]).toEqual(['old', ['f'], []]);
  });

  test('shows its content to nobody else before it is whole', async () => {
    const seen: number[] = [];
    const body = bodyOf(Buffer.alloc(200_000, 'x'), () => {
      for (const name of names()) seen.push(statSync(here(name)).mode & 0o7777);
    });
    await write('f', '', { mode: 0o666 }, body);
    expect(seen.length).toBeGreaterThan(2);
    expect(new Set(seen)).toEqual(new Set([0o600]));
  });

  test('that somebody who expects the same content has come before is a conflict: of many one gets through', async () => {
    writeFileSync(here('f'), 'old');
    const all = Array.from({ length: 20 }, (_, i) => `new ${i}`);
    const answers = await Promise.allSettled(
      all.map((content) => write('f', content, { expect_sha256: sha256('old') })),
    );
    const through = all.filter((_, i) => answers[i]?.status === 'fulfilled');
    expect(through).toEqual([text('f')]);
    for (const answer of answers)
      if (answer.status === 'rejected') expect(answer.reason).toMatchObject({ code: 'conflict' });
  });

  test('of many that may only create one does; of many others the last one stays, whole', async () => {
    const all = Array.from({ length: 20 }, (_, i) => `${i} `.repeat(50_000));
    const created = await Promise.allSettled(all.map((each) => write('f', each, { create_only: true })));
    expect(created.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    await Promise.all(all.map((each) => write('g', each)));
    for (const name of ['f', 'g']) expect(all.includes(text(name))).toBe(true);
    expect(names()).toEqual(['f', 'g']);
  });

  test('sent again under its id is answered as it was, whatever has become of the file since', async () => {
    const write_id = newId();
    const first = await write('f', 'new', { write_id, create_only: true });
    expect(await write('f', 'new', { write_id, create_only: true })).toEqual(first);
    await write('f', 'newer');
    writer = new FileWriter(notes);
    expect(await write('f', 'new', { write_id, create_only: true })).toEqual(first);
    expect(text('f')).toBe('newer');
    await expect(write('f', 'new', { create_only: true })).rejects.toMatchObject({ code: 'file_exists' });
  });

  test('is forgotten once a thousand others came after it', async () => {
    for (let i = 0; i < 1_003; i++) await write('f', String(i));
    expect(readdirSync(notes)).toHaveLength(1_000);
  });
});

const fixture = join(import.meta.dirname, '../fixtures/write-a-file.ts');

describe('killed in the middle of a write', () => {
  const run = (id: string, how: string, fp?: string) =>
    spawnSync(process.execPath, [fixture, notes, here('f'), 'new content', id, how], {
      encoding: 'utf8',
      env: { ...process.env, ...(fp && { CR_FP: `${fp}:exit9` }) },
    });

  test.each([
    ['agent.file_note.before', false],
    ['durable.rename', false],
    ['agent.file_note.after', false],
    ['agent.file_write.before', false],
    ['agent.file_write.after', true],
  ])(
    'at %s: the old file or the new one, nothing else once an agent starts, and sent again it is done once',
    (point, done) => {
      for (const how of ['', 'create']) {
        const id = newId();
        if (how === '') writeFileSync(here('f'), 'old');
        else rmSync(here('f'), { force: true });
        expect(run(id, how, point).signal).toBe('SIGKILL');
        const now = readdirSync(dir).includes('f') ? text('f') : undefined;
        expect(now).toBe(done ? 'new content' : how === '' ? 'old' : undefined);
        new FileWriter(notes);
        expect(names()).toEqual(now === undefined ? [] : ['f']);
        expect(JSON.parse(run(id, how).stdout)).toMatchObject({
          written: { size: 11, created: how === 'create' },
        });
        expect([text('f'), names()]).toEqual(['new content', ['f']]);
      }
    },
  );
});

const allowed = spawnSync('unshare', ['-rm', 'true']).status === 0;
const onFullDisk = allowed ? 'on a full disk' : 'on a full disk (skipped: unshare -rm is not permitted here)';

describe.skipIf(!allowed)(onFullDisk, () => {
  test('a write is disk_low, and what was there is as it was', () => {
    const script = `mount -t tmpfs -o size=1m none "$1" && printf old >"$1/f" &&
      "$2" "$3" "$4" "$1/f" @3000000 ${newId()} && echo && ls -A "$1" && cat "$1/f"`;
    const output = execFileSync(
      'unshare',
      ['-rm', 'sh', '-c', script, 'sh', dir, process.execPath, fixture, notes],
      { encoding: 'utf8' },
    );
    const [answer = '', ...rest] = output.split('\n');
    expect(JSON.parse(answer)).toMatchObject({ code: 'disk_low' });
    expect(rest).toEqual(['f', 'old']);
  });
});
