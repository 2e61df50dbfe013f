import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SyncClient, type SyncOrder, type SyncSummary } from '@codex-remote/client/sync';
import { systemClock } from '@codex-remote/platform';
import { stagingName } from '@codex-remote/platform/tree';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { snapshot } from '../../packages/platform/test/sync/snapshot.ts';
import { WiredApi } from '../src/connect/wired-api.ts';
import { WiredMachine } from '../src/connect/wired-machine.ts';

const mb = 1024 * 1024;

describe('trees that go over a connection which breaks', () => {
  let box: WiredMachine;
  let api: WiredApi;
  beforeEach(async () => {
    box = await WiredMachine.open();
    api = await WiredApi.open(box);
    mkdirSync(here());
  });
  afterEach(async () => {
    await api.close();
    await box.close();
  });

  const here = (...names: string[]): string => join(box.dir, 'here', ...names);
  const there = (...names: string[]): string => join(box.lab.home, 'there', ...names);

  const order = (more: Partial<SyncOrder> = {}): SyncOrder => ({
    machine: 'box',
    connectWaitMs: 15_000,
    local: Buffer.from(here()),
    remote: Buffer.from('there'),
    rules: [],
    ignore: false,
    delete: false,
    checksum: false,
    dryRun: false,
    ...more,
  });
  const sync = (verb: 'push' | 'pull', more?: Partial<SyncOrder>): Promise<SyncSummary> =>
    new SyncClient(api.connection, systemClock)[verb](order(more));

  function fill(root: string, bigMb = 6): void {
    mkdirSync(join(root, 'folder/deeper'), { recursive: true });
    writeFileSync(join(root, 'big'), randomBytes(bigMb * mb));
    for (let i = 0; i < 60; i++) writeFileSync(join(root, 'folder', `small-${i}`), randomBytes(3_000));
    writeFileSync(join(root, 'folder/deeper/text'), 'a line\n'.repeat(20_000));
  }

  const alike = (): void => {
    expect(snapshot(there())).toEqual(snapshot(here()));
    expect(existsSync(there(stagingName)) || existsSync(here(stagingName))).toBe(false);
  };

  test.each([
    ['push', 'up'],
    ['pull', 'up'],
    ['push', 'down'],
    ['pull', 'down'],
  ] as const)(
    '%s is cut again and again on the way %s: it goes on by itself where it was',
    async (verb, way) => {
      // What goes the way of the content breaks late, what goes the other way is little.
      const content = (verb === 'push') === (way === 'down');
      const bigMb = content ? 16 : 6;
      fill(verb === 'push' ? here() : there(), bigMb);
      let running = true;
      const going = sync(verb).finally(() => {
        running = false;
      });
      let cuts = 0;
      // All within the large file, behind a whole block of it, and more than there may be passes that bring nothing.
      for (; running && cuts < (content ? 8 : 6); cuts++)
        await Promise.race([box.proxy.cutAfter(way, content ? 1_500_000 : 300), going]);
      const summary = await going;
      alike();
      expect(summary.resumed).toBeGreaterThan(0);
      if (content) expect(summary.reused).toBeGreaterThan(mb);
      expect(summary).toMatchObject({ refused: 0, skipped: 0 });
      expect(await sync(verb)).toMatchObject({
        files: 0,
        directories: 0,
        changed: 0,
        unchanged: 64,
        resumed: 0,
      });
    },
  );

  test('the controller goes away in the middle of a push and of a pull, and comes back: neither is begun anew [row 10]', async () => {
    fill(here());
    for (const verb of ['push', 'pull'] as const) {
      let gone: Promise<void> | undefined;
      const summary = await sync(verb, {
        progress: ({ bytes }) => {
          if (bytes > 2 * mb) gone ??= api.goAway().then(() => api.comeBack());
        },
      });
      await gone;
      expect(summary.resumed).toBeGreaterThan(0);
      const bytes = verb === 'push' ? summary.sent_bytes : summary.received_bytes;
      expect(bytes).toBeLessThan(9 * mb);
      alike();
      rmSync(here(), { recursive: true });
    }
  });

  test('a push that its caller gave up is gone on with by the next one', async () => {
    fill(here());
    const given = new AbortController();
    const first = sync('push', {
      signal: given.signal,
      progress: ({ bytes }) => {
        if (bytes > 3 * mb) given.abort(new Error('given up'));
      },
    });
    await expect(first).rejects.toThrow('given up');
    await expect.poll(() => readdirSync(there()).includes('big')).toBe(false);
    // The agent hears of it, and lays the part aside.
    await expect
      .poll(() => readdirSync(there(stagingName)).some((name) => name.startsWith('p-')), { timeout: 10_000 })
      .toBe(true);
    const second = await sync('push');
    expect(second.reused).toBeGreaterThan(2 * mb);
    expect(second.sent_bytes).toBeLessThan(5 * mb);
    alike();
  });

  test('with delete what is not there any more goes, and what git keeps stays', async () => {
    fill(here());
    await sync('push');
    mkdirSync(there('.git'));
    writeFileSync(there('.git/config'), 'kept');
    rmSync(here('folder/small-1'));
    const told: string[] = [];
    const dry = await sync('push', {
      delete: true,
      dryRun: true,
      report: (report) => told.push(`${report.do} ${report.path}`),
    });
    expect([dry.removed, told]).toEqual([1, ['remove folder/small-1']]);
    expect(existsSync(there('folder/small-1'))).toBe(true);
    expect(await sync('push', { delete: true })).toMatchObject({ removed: 1, files: 0 });
    expect(existsSync(there('folder/small-1'))).toBe(false);
    expect(readFileSync(there('.git/config'), 'utf8')).toBe('kept');
  });

  test('a tree that is not there is said, and nothing is made for it here', async () => {
    rmSync(here(), { recursive: true });
    await expect(sync('pull')).rejects.toMatchObject({ code: 'file_not_found', details: { machine: 'box' } });
    expect(existsSync(here())).toBe(false);
    await expect(sync('pull', { machine: 'nobody' })).rejects.toMatchObject({ code: 'unknown_machine' });
  });

  test('what was pushed is in the audit log, with how much', async () => {
    fill(here());
    await sync('push');
    const entries = api.audit.entries.filter(({ verb }) => verb === 'sync.push');
    expect(entries.map(({ result }) => result)).toEqual(['requested', 'done']);
    expect(entries[1]?.facts).toMatchObject({ path: 'there', files: 62, removed: 0 });
  });
});
