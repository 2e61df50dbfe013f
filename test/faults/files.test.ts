import { createHash, randomBytes } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { VerbParams } from '@codex-remote/protocol/schema';
import { encodeRecord, maxRecordPayloadBytes, RecordParser, streamId } from '@codex-remote/protocol/wire';
import { Cli, sized, waitFor } from '@codex-remote/test/lab';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { RequestBody } from '../../controller/src/execs/request-body.ts';
import { WiredMachine } from '../src/connect/wired-machine.ts';

const mb = 1024 * 1024;
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('the connection between controller and agent, while files go over it,', () => {
  let box: WiredMachine;
  let count = 0;
  const place = { machine: 'box', connectWaitMs: 15_000, signal: new AbortController().signal };
  beforeEach(async () => {
    box = await WiredMachine.open();
  });
  afterEach(() => box.close());

  const here = (name: string): string => join(box.lab.home, name);
  const params = (name: string, more: Partial<VerbParams<'file.write'>> = {}): VerbParams<'file.write'> => ({
    path: Buffer.from(name),
    write_id: `write${String(count++).padStart(15, '0')}`,
    create_only: true,
    parents: false,
    ...more,
  });
  const bodyOf = (content: Buffer): RequestBody => new RequestBody(recordsOf(content));
  const leftovers = (): string[] => readdirSync(box.lab.home).filter((name) => name.startsWith('.cr-'));

  test.each([1, 3])(
    'breaks again and again in a read that comes in odd pieces (%i): its bytes are those of the file [row 50]',
    async (seed) => {
      const bytes = randomBytes(12 * mb);
      writeFileSync(here('f'), bytes);
      const got: Buffer[] = [];
      const files: unknown[] = [];
      let reading = true;
      const reader = box.files
        .read(
          place,
          { path: Buffer.from('f'), from: 5 },
          {
            write: async (records) => {
              for (const record of new RecordParser().push(records))
                if (record.kind === 'data') got.push(Buffer.from(record.bytes));
            },
            event: async (value) => void files.push(value),
          },
        )
        .finally(() => {
          reading = false;
        });
      for (let cut = 0; reading && cut < 12; cut++) {
        box.proxy.shape('up', { bytes: 1000 + 777 * cut * seed });
        await Promise.race([box.proxy.cutAfter('up', 300_000 + 1_111 * cut * seed), reader]);
      }
      expect(await reader).toEqual({ next: bytes.byteLength, complete: true });
      expect(files).toHaveLength(1);
      expect(Buffer.concat(got).equals(bytes.subarray(5))).toBe(true);
    },
  );

  test('breaks in a read of a file that is replaced meanwhile: file_changed, never bytes of two files', async () => {
    writeFileSync(here('f'), Buffer.alloc(8 * mb, 'a'));
    const got: Buffer[] = [];
    void box.proxy.cutAfter('up', 2 * mb).then(() => {
      rmSync(here('f'));
      writeFileSync(here('f'), Buffer.alloc(8 * mb, 'b'));
    });
    const reading = box.files.read(
      place,
      { path: Buffer.from('f'), from: 0 },
      {
        write: async (records) => {
          for (const record of new RecordParser().push(records))
            if (record.kind === 'data') got.push(Buffer.from(record.bytes));
        },
        event: async () => undefined,
      },
    );
    await expect(reading).rejects.toMatchObject({ code: 'file_changed', details: { machine: 'box' } });
    expect(Buffer.concat(got).every((byte) => byte === 97)).toBe(true);
  });

  test('breaks in a list: every name once', async () => {
    const names = Array.from({ length: 3_000 }, (_, i) => `name-${i}`).sort();
    const folder = here('folder');
    await box.files.mkdir(place, { path: Buffer.from('folder'), parents: true });
    for (const name of names) writeFileSync(join(folder, name), '');
    const found: string[] = [];
    const listing = box.files.list(
      place,
      { path: Buffer.from('folder'), limit: 10_000 },
      {
        write: async () => undefined,
        event: async (value) => {
          const { entries } = value as { entries: { name: string }[] };
          found.push(...entries.map(({ name }) => name));
        },
      },
    );
    for (let cut = 0; cut < 3; cut++) await Promise.race([box.proxy.cutAfter('up', 60_000), listing]);
    expect(await listing).toMatchObject({ total: names.length, more: false });
    expect(found).toEqual(names);
  });

  test('breaks in a small write: it is sent again by itself, and is there once [row 50]', async () => {
    const content = randomBytes(mb / 2);
    void box.proxy.cutAfter('down', 200_000);
    const written = await box.files.write(place, params('f'), bodyOf(content));
    expect(written).toMatchObject({ size: content.byteLength, sha256: sha256(content), created: true });
    expect([readFileSync(here('f')).equals(content), leftovers()]).toEqual([true, []]);
  });

  test('breaks in a large write: nothing is there, the caller is told so, and sends it again [row 50]', async () => {
    const content = randomBytes(6 * mb);
    const order = params('f');
    void box.proxy.cutAfter('down', 3 * mb);
    await expect(box.files.write(place, order, bodyOf(content))).rejects.toMatchObject({
      code: 'connection_reset',
      retryable: true,
      details: { sent: 'no', machine: 'box' },
    });
    await waitFor('what came of it to be gone', () => leftovers().length === 0);
    expect(existsSync(here('f'))).toBe(false);
    expect(await box.files.write(place, order, bodyOf(content))).toMatchObject({ sha256: sha256(content) });
    expect(readFileSync(here('f')).equals(content)).toBe(true);
  });

  test.each([
    ['small', mb / 2],
    ['large', 6 * mb],
  ])(
    'breaks under the answer to a %s write that may only create: sent again it is answered as done [row 55]',
    async (_size, bytes) => {
      const content = randomBytes(bytes);
      const order = params('f');
      const cut = box.proxy.cutWhere('up', 'rst', (chunk) => {
        const at = chunk.indexOf('created');
        return at < 0 ? undefined : at;
      });
      const first = box.files.write(place, order, bodyOf(content));
      await cut;
      const { ino } = statSync(here('f'));
      const answer = await first.catch((error: unknown) => error);
      // One that is too large to be kept is for the caller to send again.
      if (bytes > mb)
        expect(answer).toMatchObject({
          code: 'connection_reset',
          details: { sent: 'unknown', machine: 'box' },
        });
      const written = bytes > mb ? await box.files.write(place, order, bodyOf(content)) : answer;
      expect(written).toMatchObject({ size: bytes, sha256: sha256(content), created: true });
      expect([statSync(here('f')).ino, leftovers()]).toEqual([ino, []]);
    },
  );

  test('breaks under the answer to a removal and to a folder that is made: what cannot be told is said', async () => {
    writeFileSync(here('f'), '');
    const lose = (word: string): Promise<void> =>
      box.proxy.cutWhere('up', 'rst', (chunk) => {
        const at = chunk.indexOf(word);
        return at < 0 ? undefined : at;
      });
    let cut = lose('removed');
    const removing = box.files.remove(place, { path: Buffer.from('f'), recursive: false });
    removing.catch(() => undefined);
    await cut;
    await expect(removing).rejects.toMatchObject({
      code: 'file_not_found',
      message: expect.stringContaining('it is gone'),
    });
    cut = lose('created');
    const making = box.files.mkdir(place, { path: Buffer.from('d'), parents: false });
    making.catch(() => undefined);
    await cut;
    await expect(making).rejects.toMatchObject({ code: 'connection_reset', details: { sent: 'unknown' } });
    cut = lose('created');
    const again = box.files.mkdir(place, { path: Buffer.from('e'), parents: true });
    await cut;
    expect(await again).toMatchObject({ path: here('e') });
  });
});

async function* recordsOf(content: Buffer): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < content.byteLength; offset += maxRecordPayloadBytes) {
    const bytes = content.subarray(offset, offset + maxRecordPayloadBytes);
    yield encodeRecord({ kind: 'data', stream: streamId.content, offset, bytes });
  }
  const end = { bytes: content.byteLength, sha256: sha256(content) };
  yield encodeRecord({ kind: 'event', value: { end } });
}

describe('a file that fits no memory of ours', () => {
  let cli: Cli;
  const bytes = sized({ ci: 300, full: 2_000 }) * mb;
  const here = (name: string): string => join(cli.home, name);
  let digest: string;
  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
    const piece = randomBytes(mb);
    for (let at = 0; at < bytes; at += mb) writeFileSync(here('huge'), piece, { flag: 'a' });
    digest = await hashOf(here('huge'));
  });
  afterAll(() => cli?.close());

  test('goes both ways with its bytes exact, and agent, controller and command stay small [row 62]', {
    timeout: 600_000,
  }, async () => {
    const pids = [await agentPid(cli.home), Number(await cli.controllerPid())];
    const watch = new MemoryWatch(pids);
    const options = { timeoutMs: 300_000 };
    try {
      for (const args of [
        ['file', 'write', '-m', 'local', 'sent', '--src', 'huge'],
        ['file', 'read', '-m', 'local', 'sent', '--dst', 'back'],
      ])
        expect(await watch.command(cli.spawn(args), options.timeoutMs)).toMatchObject({
          ok: true,
          sha256: digest,
        });
      expect(await hashOf(here('sent'))).toBe(digest);
      expect(await hashOf(here('back'))).toBe(digest);
      // Also where nobody takes what comes.
      const stopped = cli.spawn(['file', 'read', '-m', 'local', '--raw', 'sent']);
      const hash = createHash('sha256');
      await new Promise<void>((resolve) => {
        stopped.stdout.once('data', (first: Buffer) => {
          hash.update(first);
          stopped.stdout.pause();
          resolve();
        });
      });
      let [seen, same] = [0, 0];
      await waitFor('the agent to read no more', async () => {
        const now = await readBytes(pids[0] ?? 0);
        same = now === seen ? same + 1 : 0;
        seen = now;
        return same === 10;
      });
      stopped.stdout.on('data', (more: Buffer) => hash.update(more));
      const closed = new Promise((resolve) => stopped.once('close', resolve));
      stopped.stdout.resume();
      expect([await closed, hash.digest('hex')]).toEqual([0, digest]);
    } finally {
      watch.close();
    }
    expect(watch.grown.map((grown) => grown < 100 * mb)).toEqual([true, true]);
    expect(watch.highestCommand).toBeLessThan(200 * mb);
  });
});

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  return hash.digest('hex');
}

/** Bytes that a process has read so far, from wherever. */
async function readBytes(pid: number): Promise<number> {
  return Number(/rchar: (\d+)/.exec(await readFile(`/proc/${pid}/io`, 'utf8'))?.[1]);
}

/** The most memory that processes have had while it watched. */
class MemoryWatch {
  highestCommand = 0;
  readonly #pids: readonly number[];
  readonly #before: readonly number[];
  readonly #highest: number[];
  readonly #timer: NodeJS.Timeout;
  #command: number | undefined;

  constructor(pids: readonly number[]) {
    this.#pids = pids;
    this.#before = pids.map(rssOf);
    this.#highest = [...this.#before];
    this.#timer = setInterval(() => this.#look(), 25);
  }

  get grown(): number[] {
    return this.#highest.map((rss, at) => rss - (this.#before[at] ?? 0));
  }

  /** Its JSON answer. */
  async command(child: ReturnType<Cli['spawn']>, timeoutMs: number): Promise<unknown> {
    this.#command = child.pid;
    const output: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    await new Promise((resolve) => child.once('close', resolve));
    clearTimeout(timer);
    this.#command = undefined;
    return JSON.parse(Buffer.concat(output).toString());
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    for (const [at, pid] of this.#pids.entries())
      this.#highest[at] = Math.max(this.#highest[at] ?? 0, rssOf(pid));
    if (this.#command !== undefined)
      this.highestCommand = Math.max(this.highestCommand, rssOf(this.#command));
  }
}

/** Resident bytes of a process; 0 once it has ended. */
function rssOf(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** The daemon whose home is under `home`. */
async function agentPid(home: string): Promise<number> {
  for (const entry of await readdir('/proc')) {
    const line = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
    if (line.includes('agent.mjs\0daemon') && line.includes(home)) return Number(entry);
  }
  throw new Error(`no agent runs under ${home}`);
}
