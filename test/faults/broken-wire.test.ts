import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { sized, waitFor } from '@codex-remote/test/lab';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WiredMachine } from '../src/connect/wired-machine.ts';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('the connection between controller and agent', () => {
  let box: WiredMachine;
  beforeEach(async () => {
    box = await WiredMachine.open();
  });
  afterEach(() => box.close());

  test.each(['up', 'down'] as const)(
    'breaks at each byte %s of a session that starts, follows and ends an exec: one start, exact output, its code [row 50] [row 55]',
    { timeout: 600_000 },
    async (direction) => {
      const step = sized({ ci: 23, full: 1 });
      let cuts = 0;
      for (let at = Math.floor(Math.random() * step); ; at += step) {
        let cut = false;
        void box.proxy.cutAfter(direction, at).then(() => {
          cut = true;
        });
        const id = `cut-${at}`;
        box.drop();
        await box.start(id, 'printf output; exit 3');
        expect((await box.follow(id)).toString(), id).toBe('output');
        expect(await box.ended(id), id).toMatchObject({ status: 'finished', exit_code: 3 });
        expect(box.starts(id), id).toBe(1);
        if (!cut) break;
        cuts += 1;
      }
      // The session did have as many bytes.
      expect(cuts * step).toBeGreaterThan(900);
      await waitFor('all to be acknowledged', () => box.lab.store.unacknowledgedIds().length === 0);
    },
  );

  test('breaks again and again in a log that comes in odd pieces: its hash is that of the file [row 50]', async () => {
    const bytes = sized({ ci: 6, full: 200 }) * 1024 * 1024;
    await box.start('log', `head -c ${bytes} /dev/urandom | tee ${box.dir}/truth`);
    let reading = true;
    const reader = box.follow('log').finally(() => {
      reading = false;
    });
    for (let cut = 0; reading && cut < 12; cut++) {
      box.proxy.shape('up', { bytes: 1000 + 777 * cut });
      const over = box.proxy.cutAfter('up', 300_000 + 1_111 * cut);
      await Promise.race([over, reader]);
    }
    const got = await reader;
    expect(got.byteLength).toBe(bytes);
    expect(sha256(got)).toBe(sha256(readFileSync(`${box.dir}/truth`)));
  });

  test('breaks in the middle of a large request: the caller is told, sends it again, and its hash is that of the source [row 50] [row 55]', async () => {
    const stdin = randomBytes(3 * 1024 * 1024);
    void box.proxy.cutAfter('down', 2 * 1024 * 1024);
    await expect(box.start('upload', 'sha256sum', stdin)).rejects.toMatchObject({
      code: 'connection_reset',
      details: { sent: 'unknown', exec_id: 'upload' },
    });
    expect(box.starts('upload')).toBe(0);
    await box.start('upload', 'sha256sum', stdin);
    expect((await box.follow('upload')).toString()).toContain(sha256(stdin));
    expect(box.starts('upload')).toBe(1);
  });

  test('breaks under the reply to a start: it is sent again by itself, attaches, and ran once [row 55]', async () => {
    const cut = box.proxy.cutWhere('up', 'rst', (bytes) => found(bytes.indexOf('attached')));
    const reply = await box.start('lost-reply', 'exit 3');
    await cut;
    expect(reply.attached).toBe(true);
    expect(await box.ended('lost-reply')).toMatchObject({ exit_code: 3 });
    expect(box.starts('lost-reply')).toBe(1);
  });

  test('breaks under the acknowledgement of an end: the agent keeps it and reports it again, one row in the history [row 52]', async () => {
    const cut = box.proxy.cutWhere('down', 'rst', (bytes) => found(bytes.indexOf('ack')));
    await box.start('end', 'exit 3');
    await cut;
    expect(box.lab.store.unacknowledgedIds()).toEqual(['end']);
    await waitFor('the acknowledgement', () => box.lab.store.unacknowledgedIds().length === 0);
    const { entries } = box.history.list({ limit: 10, ended_after_ms: 0 });
    expect(entries.map(({ report }) => report.state)).toMatchObject([{ exec_id: 'end', exit_code: 3 }]);
    expect(box.starts('end')).toBe(1);
  });

  test('has a reader that takes nothing: 100 others get all, and so does it in the end [row 57]', async () => {
    await box.start('shared', `seq 300000`);
    const expected = Array.from({ length: 300_000 }, (_, i) => `${i + 1}\n`).join('');
    const gate = Promise.withResolvers<void>();
    const stuck = box.follow('shared', 0, () => gate.promise);
    const others = Array.from({ length: 100 }, () => box.follow('shared'));
    for (const reader of others) expect((await reader).toString() === expected).toBe(true);
    expect(await box.ended('shared')).toMatchObject({ status: 'finished', exit_code: 0 });
    gate.resolve();
    expect((await stuck).toString() === expected).toBe(true);
  });
});

test('a connection that is silent one way, the other, or both: both sides notice, the machine is back, a follower has every byte once [row 49]', {
  timeout: 90_000,
}, async () => {
  // Each waits for two heartbeats: all at the same time.
  await Promise.all(([['up'], ['down'], []] as const).map(silence));
});

/** `ways`: those that are silent; none named: both. */
async function silence(ways: readonly ('up' | 'down')[]): Promise<void> {
  const box = await WiredMachine.open();
  try {
    await box.start('silent', 'for i in $(seq 250); do echo $i; sleep 0.1; done; exit 4');
    const following = box.follow('silent');
    await waitFor('output', () => box.lab.read('silent').length > 0);
    const before = box.proxy.accepted;
    box.proxy.blackhole(...ways);
    const began = performance.now();
    await waitFor('another dial', () => box.proxy.accepted > before, 30_000);
    // Two heartbeats and a timer's tolerance, whichever side heard nothing.
    expect(performance.now() - began).toBeLessThan(20_000 + 6_000);
    expect(box.history.get('box', 'silent')?.report.state.status).toBe('running');
    box.proxy.heal();
    const expected = Array.from({ length: 250 }, (_, i) => `${i + 1}\n`).join('');
    expect((await following).toString()).toBe(expected);
    expect(await box.ended('silent')).toMatchObject({ status: 'finished', exit_code: 4 });
    expect(box.starts('silent')).toBe(1);
  } finally {
    await box.close();
  }
}

function found(index: number): number | undefined {
  return index < 0 ? undefined : index;
}
