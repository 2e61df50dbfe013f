import { appendFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { redacted } from '../../src/audit/entry.ts';
import { AuditLab, started } from './audit-lab.ts';

let lab: AuditLab;
beforeEach(() => {
  lab = new AuditLab();
});
afterEach(() => lab.close());

const lines = (name?: string) =>
  lab
    .read(name)
    .toString()
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));

describe('the audit log', () => {
  test('has a numbered line for each entry, linked to the one before, for its owner alone', async () => {
    await Promise.all(['a', 'b', 'c'].map((id) => lab.log.record(started(id))));
    expect(lines()).toMatchObject([
      { v: 1, seq: 1, prev: '0'.repeat(64), exec_id: 'a', principal: 'uid:1000', argv: ['make', 'test'] },
      { seq: 2, exec_id: 'b' },
      { seq: 3, exec_id: 'c' },
    ]);
    expect(await lab.log.verify()).toMatchObject({
      ok: true,
      count: 3,
      files: 1,
      first_seq: 1,
      head: { seq: 3 },
    });
    expect(statSync(join(lab.dir, '00000001.jsonl')).mode & 0o777).toBe(0o600);
    expect(statSync(lab.dir).mode & 0o777).toBe(0o700);
  });

  test('puts a note on disk soon, and in its place among the others', async () => {
    await lab.log.record(started('a'));
    lab.log.note({ ...started('a'), result: 'accepted' });
    lab.log.note(started('b'));
    expect(lines().map(({ seq, result }) => [seq, result])).toEqual([
      [1, 'requested'],
      [2, 'accepted'],
      [3, 'requested'],
    ]);
    // The second place follows what is on disk.
    await expect.poll(() => lab.heads.load()?.seq).toBe(3);
  });

  test('goes on where it ended', async () => {
    await lab.log.record(started('a'));
    await lab.reopen();
    await lab.log.record(started('b'));
    expect(lines().map(({ seq }) => seq)).toEqual([1, 2]);
    expect(await lab.log.verify()).toMatchObject({ ok: true, count: 2 });
  });

  test('lists the newest first, by time, verb and machine', async () => {
    await lab.log.record(started('a'));
    await lab.log.record({ ...started('b'), machine: 'other' });
    await lab.log.record({
      principal: 'uid:1',
      source: 'unix',
      verb: 'machine.up',
      machine: 'box',
      result: 'done',
    });
    const ids = async (filter: object) =>
      (await lab.log.list({ limit: 10, ...filter })).entries.map(({ seq }) => seq);
    expect(await ids({})).toEqual([3, 2, 1]);
    expect(await ids({ machine: 'box' })).toEqual([3, 1]);
    expect(await ids({ verb: 'exec' })).toEqual([2, 1]);
    expect(await ids({ verb: 'exec.start', machine: 'other' })).toEqual([2]);
    expect(await ids({ until_ms: 0 })).toEqual([]);
    expect(await lab.log.list({ limit: 2 })).toMatchObject({ more: true });
    expect(await lab.log.list({ limit: 3 })).toMatchObject({ more: false });
  });

  test('what a crash left of a line is cut off, and told', async () => {
    await lab.log.record(started('a'));
    await lab.reopen(() => appendFileSync(join(lab.dir, '00000001.jsonl'), '{"v":1,"seq":2,"pr'));
    await lab.log.record(started('b'));
    expect(lines()).toMatchObject([
      { exec_id: 'a' },
      { verb: 'audit.repair', facts: { file: '00000001.jsonl', bytes: 18 } },
      { exec_id: 'b' },
    ]);
    expect(await lab.log.verify()).toMatchObject({ ok: true, count: 3 });
  });

  test('every length at which a line can be torn is repaired [row 35]', async () => {
    await lab.log.record(started('a'));
    const whole = lab.read();
    await lab.log.record(started('b'));
    const both = lab.read();
    for (let length = whole.byteLength; length < both.byteLength; length += 7) {
      await lab.reopen(() => {
        lab.write(both.subarray(0, length));
        rmSync(join(lab.root, 'history.sqlite'));
      });
      await lab.log.record(started('c'));
      expect(await lab.log.verify()).toMatchObject({ ok: true });
      expect(lines()[0]).toMatchObject({ exec_id: 'a' });
    }
  });

  test('a start after which lines are missing that were on disk is told for ever', async () => {
    await lab.log.record(started('a'));
    const one = lab.read();
    await lab.log.record(started('b'));
    await lab.reopen(() => lab.write(one));
    await lab.log.record(started('c'));
    expect(await lab.log.verify()).toMatchObject({ ok: false, line: 2 });
    await lab.reopen();
    await lab.log.record(started('d'));
    expect(await lab.log.verify()).toMatchObject({ ok: false, problem: 'damage_recorded', line: 2 });
    await lab.reopen(() => rmSync(join(lab.dir, '00000001.jsonl')));
    expect(await lab.log.verify()).toMatchObject({ ok: false });
  });
});

describe('its files', () => {
  beforeEach(async () => {
    await lab.close();
    lab = new AuditLab({ segment_bytes: 4096 });
  });
  const fill = async (count: number) => {
    for (let i = 0; i < count; i++) await lab.log.record(started(`x${i}`));
  };

  test('follow each other at a size, linked over their ends, and none goes', async () => {
    await fill(60);
    expect(lab.files().length).toBeGreaterThan(3);
    const [first, second] = lab.files();
    const last = lines(first).at(-1);
    expect(lines(second)[0].seq).toBe(last.seq + 1);
    expect(await lab.log.verify()).toMatchObject({ ok: true, count: 60, files: lab.files().length });
    const { entries } = await lab.log.list({ limit: 100 });
    expect(entries.map(({ seq }) => seq)).toEqual(Array.from({ length: 60 }, (_, i) => 60 - i));
    await lab.reopen();
    await fill(1);
    expect(await lab.log.verify()).toMatchObject({ ok: true, count: 61 });
  });

  test('go by size or age where that is configured, behind a checkpoint in the chain', async () => {
    await lab.close();
    lab = new AuditLab({ segment_bytes: 4096, keep_bytes: 8192 });
    await fill(120);
    expect(lab.files().length).toBeLessThanOrEqual(4);
    const verdict = await lab.log.verify();
    expect(verdict).toMatchObject({ ok: true });
    expect(verdict.ok && verdict.first_seq).toBeGreaterThan(1);
    const { entries } = await lab.log.list({ limit: 10, verb: 'audit' });
    expect(entries[0]).toMatchObject({
      verb: 'audit.retention',
      facts: { files: expect.stringContaining('.jsonl') },
    });
    // Without the checkpoint that names them, lines are missing.
    await lab.stop();
    for (const name of lab.files().slice(0, -1)) rmSync(join(lab.dir, name));
    await lab.reopen();
    expect(await lab.log.verify()).toMatchObject({ ok: false });
  });
});

describe('what is written', () => {
  test('is never of unlimited size: a long argv is cut, and told by its number and hash', async () => {
    const argv = ['printf', 'x'.repeat(5000), 'é'.repeat(3000), 'end'];
    await lab.log.record(started('a', { argv, cwd: 'd'.repeat(9999), reason: 'r'.repeat(9999) }));
    const [line] = lines();
    expect(lab.read().byteLength).toBeLessThan(6000);
    expect(line).toMatchObject({ argv_count: 4, argv_sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(line.argv[0]).toBe('printf');
    expect(line.argv[1]).toMatch(/^x{2000,2048}…$/);
    expect(await lab.log.verify()).toMatchObject({ ok: true });
  });

  test('holds any text on one line', async () => {
    await lab.log.record(
      started('a', { argv: ['\ud800', '\u0000\u001b[31m\n\u2028\u202e', '🙂'], reason: '"\\\n' }),
    );
    expect(lab.read().toString().split('\n')).toHaveLength(2);
    expect(await lab.log.verify()).toMatchObject({ ok: true });
  });

  test('is without the values that are known to be secret', () => {
    expect(redacted('curl -H "token: s3cret-value" s3cret', ['s3cret', 's3cret-value', 'abc'])).toBe(
      'curl -H "token: ***" ***',
    );
    expect(redacted('abc', ['abc'])).toBe('abc');
  });
});
