import { execFile } from 'node:child_process';
import { appendFile, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { systemClock } from '@codex-remote/platform';
import { SshLab } from '@codex-remote/test/lab';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cksum } from '../../src/bootstrap/cksum.ts';
import { type Probe, probeMachine } from '../../src/bootstrap/probe.ts';
import { chooseRuntime, ownRuntimes } from '../../src/bootstrap/runtime.ts';
import { isStored, StoreEntries, type StoreEntry } from '../../src/bootstrap/store-entry.ts';
import { chooseCoding, type UploadOptions, uploadEntry } from '../../src/bootstrap/upload.ts';
import type { HostTransport } from '../../src/ssh/transport.ts';
import { connectTo, environmentOf, type Kind } from '../ssh/connect.ts';

const run = promisify(execFile);
const entries = new StoreEntries();
let lab: SshLab;
let dir: string;
let small: StoreEntry;
let node: StoreEntry;

beforeAll(async () => {
  lab = await SshLab.open();
  dir = await mkdtemp(join(tmpdir(), 'crx-'));
  await writeFile(join(dir, 'one'), Buffer.alloc(300_000, 'one'));
  await writeFile(join(dir, 'empty'), '');
  await writeFile(join(dir, 'two'), 'two\0\r\n\n');
  small = await entries.bundle(
    'small',
    ['one', 'empty', 'two'].map((name) => join(dir, name)),
  );
});

afterAll(async () => {
  await rm(dir, { recursive: true, force: true });
  await lab.close();
});

describe.each<Kind>(['ssh2', 'system'])('the store of a machine over %s', (kind) => {
  let transport: HostTransport;
  let base: string;
  let probe: Probe;

  beforeAll(async () => {
    transport = await connectTo('box', environmentOf(await lab.writeConfig(lab.hostBlock('box'))), kind);
    base = join(lab.user.home, `store-${kind}`);
    probe = await look();
    node = await entries.program('node', chooseRuntime(probe, ownRuntimes), 'node');
    await upload(node, { coding: 'raw' });
  });

  afterAll(() => transport.close());

  const signal = new AbortController().signal;
  const look = () => probeMachine(transport, { clock: systemClock, signal, agentHome: base });
  const upload = (entry: StoreEntry, more: Partial<UploadOptions> = {}, seen: Probe = probe) =>
    uploadEntry(transport, entry, seen, {
      clock: systemClock,
      signal,
      coding: 'raw',
      ...(entry === node ? {} : { node: join(base, 'store', node.name, 'node') }),
      ...more,
    });
  const stored = () => readdir(join(base, 'store'));
  const forget = (entry: StoreEntry) => rm(join(base, 'store', entry.name), { recursive: true, force: true });
  const asMade = async (entry: StoreEntry): Promise<boolean> => {
    for (const file of entry.files) {
      const there = await readFile(join(base, 'store', entry.name, file.name));
      if (!there.equals(await readFile(file.path))) return false;
    }
    return true;
  };

  it('takes several files, an empty one too, raw and compressed', async () => {
    expect(isStored(small, await look())).toBe(false);
    for (const coding of ['raw', 'gzip'] as const) {
      await forget(small);
      await upload(small, { coding });
      expect(await asMade(small)).toBe(true);
    }
    expect(isStored(small, await look())).toBe(true);
    expect((await stored()).sort()).toEqual([node.name, small.name].sort());
  });

  it.each(['sha256sum', 'shasum', 'openssl', 'busybox', 'cksum', 'none'])(
    'compares what came by %s',
    async (tool) => {
      await forget(small);
      const seen = { ...probe, tools: new Set([tool]) };
      await upload(small, {}, seen);
      expect(await asMade(small)).toBe(true);
      await forget(small);
      const wrong = {
        ...small,
        files: small.files.map((file) => ({ ...file, sha256: file.sha256.replace(/^../, '00') })),
      };
      // cksum is computed from what is sent: the wrong hash is found by the Node there.
      await expect(upload(wrong, {}, seen)).rejects.toMatchObject({
        code: 'bootstrap_failed',
        details: { facts: { failed: ['cksum', 'none'].includes(tool) ? 'place' : 'checksum' } },
      });
      expect(await stored()).toEqual([node.name]);
    },
  );

  it('takes two uploads of the same at once, and keeps one [row 106]', async () => {
    await forget(small);
    await Promise.all([upload(small), upload(small), upload(small, { coding: 'gzip' })]);
    expect(await asMade(small)).toBe(true);
    expect((await stored()).sort()).toEqual([node.name, small.name].sort());
  });

  it('replaces an entry that was damaged [row 106]', async () => {
    await upload(small);
    await truncate(join(base, 'store', small.name, 'one'), 10);
    expect(isStored(small, await look())).toBe(false);
    await upload(small);
    expect(await asMade(small)).toBe(true);
    expect((await stored()).sort()).toEqual([node.name, small.name].sort());
  });

  it('keeps nothing of an upload that is cut or withdrawn [row 106]', async () => {
    await forget(small);
    const other = await connectTo('box', environmentOf(await lab.writeConfig(lab.hostBlock('box'))), kind);
    const gone = new AbortController();
    const part = uploadEntry(other, node, probe, {
      clock: systemClock,
      signal,
      coding: 'raw',
      onProgress: () => void other.close(),
    });
    await expect(part).rejects.toMatchObject({ code: 'connection_reset' });
    await expect(
      upload({ ...node, name: 'node-other' }, { signal: gone.signal, onProgress: () => gone.abort() }),
    ).rejects.toMatchObject({ code: 'cancelled' });
    await expect.poll(stored).toEqual([node.name]);
  });

  it('takes nothing that became longer meanwhile', async () => {
    const path = join(dir, `grows-${kind}`);
    await writeFile(path, 'short');
    const entry = await entries.program('grows', path, 'grows');
    await appendFile(path, ' no more');
    await expect(upload(entry)).rejects.toMatchObject({
      code: 'disk_low',
      details: { facts: { failed: 'size' } },
    });
    expect(await stored()).toEqual([node.name]);
  });

  it('says that a runtime does not run there [row 107]', async () => {
    const path = join(dir, 'no-program');
    await writeFile(path, 'not a program');
    const entry = await entries.program('node', path, 'node');
    const failure = uploadEntry(transport, entry, probe, { clock: systemClock, signal, coding: 'raw' });
    await expect(failure).rejects.toMatchObject({ code: 'runtime_unsupported' });
    expect(await stored()).toEqual([node.name]);
  });
});

describe('how bytes travel', () => {
  /** What is chosen where one round trip after the other takes so long. */
  const chosen = (kind: HostTransport['kind'], roundTripMs: readonly number[], tools = ['gzip']) => {
    let now = 0;
    const left = [...roundTripMs];
    const ping = async () => {
      now += left.shift() ?? Number.NaN;
    };
    return chooseCoding({ kind, ping }, { tools: new Set(tools) }, { monotonic: () => now });
  };

  it.each([
    ['ssh2', [1.5, 1.5], 'raw'],
    ['ssh2', [40, 1.5], 'raw'],
    ['ssh2', [40, 40], 'gzip'],
    ['system', [20, 20], 'raw'],
    ['system', [40, 40], 'gzip'],
    ['local', [0, 0], 'raw'],
  ] as const)('over %s with round trips of %j ms: %s', async (kind, roundTripMs, coding) => {
    expect(await chosen(kind, roundTripMs)).toBe(coding);
  });

  it('is raw where nothing there unpacks', async () => {
    expect(await chosen('ssh2', [40, 40], [])).toBe('raw');
  });
});

it('the sum is that of cksum', async () => {
  const path = join(dir, 'sum');
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 3000 }), async (bytes) => {
      await writeFile(path, bytes);
      const { stdout } = await run('cksum', [path]);
      const sum = new Cksum();
      sum.update(bytes.subarray(0, 100));
      sum.update(bytes.subarray(100));
      expect(String(sum.digest())).toBe(stdout.split(' ')[0]);
    }),
    { numRuns: 20 },
  );
});
