import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FileInfo } from '@codex-remote/protocol/schema';
import { frameHeaderBytes, RecordParser } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { listFolder } from '../../src/files/list-folder.ts';
import { absolutePath } from '../../src/files/path.ts';
import { type ReadOrder, readFile } from '../../src/files/read-file.ts';
import { statFile } from '../../src/files/stat-file.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'files-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const at = (name: string): Buffer => Buffer.from(join(dir, name));

/** Takes what is sent; `before` runs ahead of each piece of content. */
class Sink {
  readonly events: Record<string, unknown>[] = [];
  readonly content: Buffer[] = [];
  readonly #before: (piece: number) => void;

  constructor(before: (piece: number) => void = () => undefined) {
    this.#before = before;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (const record of new RecordParser().push(bytes)) {
      if (record.kind === 'event') this.events.push(record.value as Record<string, unknown>);
      else if (record.kind === 'data') this.content.push(Buffer.from(record.bytes));
    }
  }

  async writeFrame(frame: Uint8Array): Promise<void> {
    this.#before(this.content.length);
    await this.write(frame.subarray(frameHeaderBytes));
  }
}

async function read(order: Partial<ReadOrder> & { path: Buffer }, sink = new Sink()): Promise<Sink> {
  await readFile({ from: 0, ...order }, sink);
  return sink;
}

describe('reading a file', () => {
  test('gives what it is, its bytes, and that this is all', async () => {
    const bytes = Buffer.alloc(700_001, 'abc');
    writeFileSync(at('f'), bytes);
    const { events, content } = await read({ path: at('f') });
    expect(events).toMatchObject([
      { file: { path: join(dir, 'f'), type: 'file', size: 700_001 } },
      { end: { next: 700_001, complete: true } },
    ]);
    expect(Buffer.concat(content).equals(bytes)).toBe(true);
  });

  test.each([
    [0, 0, false],
    [0, 10, true],
    [0, 9, false],
    [4, 6, true],
    [4, 2, false],
    [10, 5, true],
    [99, 5, true],
  ])('from %i, at most %i: complete is %s', async (from, maxBytes, complete) => {
    writeFileSync(at('f'), '0123456789');
    const { events, content } = await read({ path: at('f'), from, maxBytes });
    expect(Buffer.concat(content).toString()).toBe('0123456789'.slice(from, from + maxBytes));
    expect(events.at(-1)).toMatchObject({ end: { complete } });
  });

  test.each<[string, (path: Buffer) => void]>([
    ['written to', (path) => appendFileSync(path, 'x')],
    ['cut', (path) => writeFileSync(path, '')],
    // The system tells time in steps: a change within one of them keeps size and time, so this one waits for the next.
    ['written over', (path) => overwrite(path)],
  ])('is file_changed when it is %s meanwhile, and nothing of the change is given', async (_how, change) => {
    const bytes = Buffer.alloc(3_000_000, 'a');
    writeFileSync(at('f'), bytes);
    const sink = new Sink((piece) => {
      if (piece === 5) change(at('f'));
    });
    await expect(read({ path: at('f') }, sink)).rejects.toMatchObject({
      code: 'file_changed',
      retryable: true,
      details: { facts: { path: join(dir, 'f') } },
    });
    expect(Buffer.concat(sink.content).every((byte) => byte === 97)).toBe(true);
  });

  test('goes on in the file that it opened when another takes its name; a later read by version does not', async () => {
    writeFileSync(at('f'), Buffer.alloc(1_000_000, 'a'));
    writeFileSync(at('g'), Buffer.alloc(1_000_000, 'b'));
    const { version } = await statFile(at('f'), false, () => undefined);
    await read({ path: at('f'), from: 10, version });
    renameSync(at('g'), at('f'));
    await expect(read({ path: at('f'), from: 10, version })).rejects.toMatchObject({ code: 'file_changed' });
  });

  test('opens nothing that is no regular file', async () => {
    execFileSync('mkfifo', [join(dir, 'fifo')]);
    mkdirSync(at('dir'));
    symlinkSync('fifo', at('to-fifo'));
    const server = createServer().listen(join(dir, 'socket'));
    await new Promise((resolve) => server.once('listening', resolve));
    try {
      for (const [path, code] of [
        [at('fifo'), 'file_type'],
        [at('to-fifo'), 'file_type'],
        [at('socket'), 'file_type'],
        [Buffer.from('/dev/null'), 'file_type'],
        [at('dir'), 'is_directory'],
        [at('nothing'), 'file_not_found'],
        [at('fifo/x'), 'not_directory'],
      ] as const)
        await expect(read({ path }), path.toString()).rejects.toMatchObject({ code });
    } finally {
      server.close();
    }
  });

  test('a hash is given up once nobody waits for it', async () => {
    writeFileSync(at('f'), Buffer.alloc(3_000_000));
    let asked = 0;
    const gone = (): void => {
      asked += 1;
      if (asked === 2) throw new Error('gone');
    };
    await expect(statFile(at('f'), true, gone)).rejects.toThrow('gone');
    expect(asked).toBe(2);
  });
});

describe('listing a folder', () => {
  test('gives the first of them in the order of their bytes, whatever the limit, and where to go on', async () => {
    mkdirSync(at('d'));
    const names = ['a', 'B', 'é', 'z', '\u{1f600}', '~', ' '].map((name) => Buffer.from(name));
    names.push(Buffer.from([0x80]), Buffer.from([0xff]));
    for (const name of names) writeFileSync(Buffer.concat([at('d/'), name]), '');
    const order = [...names].sort(Buffer.compare);
    let cursor: string | undefined;
    for (let i = 0; i < names.length; i += 2) {
      const sink = new Sink();
      await listFolder({ path: at('d'), limit: 2, cursor }, sink);
      const { end } = sink.events.at(-1) as { end: { total: number; more: boolean; next_cursor?: string } };
      expect(end).toMatchObject({ total: names.length, more: i + 2 < names.length });
      const entries = (sink.events[0] as { entries: { name?: string; name_b64?: string }[] }).entries;
      expect(
        entries.map(({ name, name_b64 }) =>
          name ? Buffer.from(name) : Buffer.from(name_b64 ?? '', 'base64'),
        ),
      ).toEqual(order.slice(i, i + 2));
      cursor = end.next_cursor;
    }
    expect(cursor).toBeUndefined();
  });

  test('of an empty one is empty; of a file it is an error', async () => {
    mkdirSync(at('d'));
    writeFileSync(at('f'), '');
    const sink = new Sink();
    await listFolder({ path: at('d'), limit: 5 }, sink);
    expect(sink.events).toEqual([{ end: { path: join(dir, 'd'), total: 0, more: false } }]);
    await expect(listFolder({ path: at('f'), limit: 5 }, sink)).rejects.toMatchObject({
      code: 'not_directory',
    });
  });
});

test('a path is absolute, of the home, or relative to it; nothing else is expanded', () => {
  const home = '/home/u';
  for (const [given, meant] of [
    ['/etc', '/etc'],
    ['~', '/home/u'],
    ['~/', '/home/u'],
    ['~/a/../b', '/home/u/a/../b'],
    ['~other/x', '/home/u/~other/x'],
    ['a b', '/home/u/a b'],
    ['$HOME', '/home/u/$HOME'],
    ['./~', '/home/u/./~'],
  ])
    expect(absolutePath(Buffer.from(given ?? ''), home).toString()).toBe(meant);
});

test('times that no calendar has are told as the nearest that it has', async () => {
  writeFileSync(at('f'), '');
  execFileSync('touch', ['-d', '@99999999999', join(dir, 'f')]);
  const info: FileInfo = await statFile(at('f'), false, () => undefined);
  expect(Number.isNaN(Date.parse(info.mtime))).toBe(false);
});

function overwrite(path: Buffer): void {
  // Until the clock of the file system has gone on.
  const begin = performance.now();
  while (performance.now() - begin < 30);
  const bytes = Buffer.alloc(3_000_000, 'b');
  writeFileSync(path, bytes, { flag: 'r+' });
}
