import { rmSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hashOf, nextLine } from '../../src/audit/chain.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { AuditLab, started } from './audit-lab.ts';

/** A log of several files; each run puts another one in their place and lets the verifier look. */
describe('whatever is changed in a log, the verifier says so', () => {
  let lab: AuditLab;
  let files: { name: string; lines: string[] }[];
  let head: { seq: number; hash: string };
  beforeAll(async () => {
    lab = new AuditLab({ segment_bytes: 4096 });
    for (let i = 0; i < 40; i++) await lab.log.record(started(`x${i}`));
    const verdict = await lab.log.verify();
    if (!verdict.ok) throw new Error(verdict.detail);
    head = verdict.head;
    await lab.stop();
    files = lab.files().map((name) => ({ name, lines: lab.read(name).toString().split('\n').slice(0, -1) }));
    expect(files.length).toBeGreaterThan(2);
  });
  afterAll(() => lab.close());

  const put = (changed: { name: string; lines: string[] }[]) => {
    for (const name of lab.files()) rmSync(join(lab.dir, name));
    for (const { name, lines } of changed) lab.write(lines.map((line) => `${line}\n`).join(''), name);
  };
  const copy = () => files.map(({ name, lines }) => ({ name, lines: [...lines] }));
  const look = (saved: { seq: number; hash: string } | undefined = head) => verifyAudit(lab.dir, { saved });
  const place = fc.integer({ min: 0, max: 39 }).map((n) => {
    let at = n;
    for (const [file, { lines }] of files.entries()) {
      if (at < lines.length) return { file, line: at };
      at -= lines.length;
    }
    throw new Error('no such line');
  });

  test('it holds as it is', async () => {
    put(copy());
    expect(await look()).toMatchObject({ ok: true, count: 40, head });
  });

  test('any byte', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 1, max: 255 }), fc.nat(), async (n, flip, which) => {
        put(copy());
        const name = files[which % files.length]?.name as string;
        const bytes = lab.read(name);
        const at = n % bytes.byteLength;
        bytes[at] = (bytes[at] as number) ^ flip;
        lab.write(bytes, name);
        const verdict = await look();
        expect(verdict).toMatchObject({ ok: false, file: expect.stringMatching(/\.jsonl$/) });
      }),
      { numRuns: 300 },
    );
  });

  test('a line that is left out, put in twice, or changes places with another', async () => {
    await fc.assert(
      fc.asyncProperty(place, place, fc.constantFrom('drop', 'double', 'swap'), async (a, b, how) => {
        const changed = copy();
        const from = changed[a.file]?.lines as string[];
        const to = changed[b.file]?.lines as string[];
        const line = from[a.line] as string;
        if (how === 'drop') from.splice(a.line, 1);
        else if (how === 'double') to.splice(b.line, 0, line);
        else {
          fc.pre(a.file !== b.file || a.line !== b.line);
          from[a.line] = to[b.line] as string;
          to[b.line] = line;
        }
        put(changed);
        expect(await look()).toMatchObject({ ok: false });
      }),
      { numRuns: 200 },
    );
  });

  test('an end that is cut off at any line, also a whole file', async () => {
    await fc.assert(
      fc.asyncProperty(place, async ({ file, line }) => {
        const changed = copy().slice(0, file + 1);
        changed[file]?.lines.splice(line);
        put(changed);
        expect(await look()).toMatchObject({ ok: false, problem: 'end_gone' });
      }),
      { numRuns: 60 },
    );
  });

  test('an end that is cut and written anew with right links', async () => {
    await fc.assert(
      fc.asyncProperty(place, async ({ file, line }) => {
        const changed = copy().slice(0, file + 1);
        const lines = changed[file]?.lines as string[];
        lines.splice(line);
        const before = lines.at(-1) ?? changed[file - 1]?.lines.at(-1);
        let at = before
          ? { seq: (JSON.parse(before) as { seq: number }).seq, hash: hashOf(before) }
          : { seq: 0, hash: '0'.repeat(64) };
        while (at.seq < 45) {
          const next = nextLine(at, 1, started('forged'));
          lines.push(next.text.slice(0, -1));
          at = next.head;
        }
        put(changed);
        expect(await look()).toMatchObject({ ok: false, problem: 'end_changed' });
      }),
      { numRuns: 60 },
    );
  });

  test('a beginning that is gone, a file from the middle, a line of something else, a line without its end', async () => {
    const changed = copy();
    put(changed.slice(1));
    expect(await look()).toMatchObject({
      ok: false,
      problem: 'beginning_gone',
      file: changed[1]?.name,
      line: 1,
    });
    put(changed.filter((_, at) => at !== 1));
    expect(await look()).toMatchObject({ ok: false, problem: 'missing_file', line: 0 });
    for (const foreign of ['', 'hello', '{}', '{"v":1}', '[]', 'null', ` ${files[0]?.lines[2]}`]) {
      const other = copy();
      other[0]?.lines.splice(2, 0, foreign);
      put(other);
      expect(await look()).toMatchObject({
        ok: false,
        problem: 'foreign_line',
        file: changed[0]?.name,
        line: 3,
      });
    }
    put(copy());
    lab.write(Buffer.concat([lab.read(), Buffer.from('{"v":1')]));
    expect(await look()).toMatchObject({ ok: false, problem: 'torn_line' });
  });

  test('without the second place an end that is cut off cleanly looks whole: that is what it is for', async () => {
    const changed = copy();
    changed.at(-1)?.lines.pop();
    put(changed);
    expect(await verifyAudit(lab.dir, {})).toMatchObject({ ok: true, count: 39 });
  });
});
