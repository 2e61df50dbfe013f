import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

/** Each call of fdatasync waits until the test lets it go on. */
const syncs: ((error: Error | null) => void)[] = [];
vi.mock('node:fs', async (actual) => ({
  ...(await actual<typeof import('node:fs')>()),
  fdatasync: (_fd: number, done: (error: Error | null) => void) => void syncs.push(done),
}));
const { WalSync } = await import('../../src/history/wal-sync.ts');

describe('the log of the history', () => {
  let dir: string;
  let path: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'cr-wal-'));
    path = join(dir, 'h-wal');
    writeFileSync(path, '');
    syncs.length = 0;
  });
  afterEach(() => rmSync(dir, { recursive: true }));
  const next = async () => {
    await vi.waitFor(() => expect(syncs.length).toBeGreaterThan(0));
    return syncs.shift() as (error: Error | null) => void;
  };
  const isOpen = () =>
    readdirSync('/proc/self/fd').some((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === path;
      } catch {
        return false;
      }
    });

  test('a sync that has begun does not cover what is committed during it: the next ones share another', async () => {
    const log = new WalSync(path);
    const first = log.sync();
    const letFirstGo = await next();
    const [second, third] = [log.sync(), log.sync()];
    expect(second).toBe(third);
    expect(second).not.toBe(first);
    letFirstGo(null);
    await first;
    (await next())(null);
    await second;
    expect(syncs).toHaveLength(0);
    log.close();
  });

  test('a failed sync fails those who waited for it, and not the next one', async () => {
    const log = new WalSync(path);
    const failed = log.sync();
    (await next())(new Error('EIO'));
    await expect(failed).rejects.toThrow('EIO');
    const fine = log.sync();
    (await next())(null);
    await fine;
    log.close();
  });

  test('the file is closed after the sync that runs, and left open until then', async () => {
    const log = new WalSync(path);
    const done = log.sync();
    const letGo = await next();
    log.close();
    await Promise.resolve();
    expect(isOpen()).toBe(true);
    letGo(null);
    await done;
    await vi.waitFor(() => expect(isOpen()).toBe(false));
  });
});
