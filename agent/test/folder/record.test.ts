import { describe, expect, it } from 'vitest';
import { parseRecord, recordBytes } from '../../src/folder/record.ts';

const stat = '41 (a b) c) R 1 41 41 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0';
const whole = `v1 job ${stat} end\nv1 exit 137 end\nv1 check 118 end\nv1 eof stderr end\nv1 eof stdout end\n`;
const filled = (text: string) => text.padEnd(recordBytes, '\n');

describe('the exit record', () => {
  it('is read whole', () => {
    expect(parseRecord(filled(whole))).toEqual({
      job: { pid: 41, start: 4711 },
      exitCode: 137,
      aborted: false,
      noCwd: false,
      eof: new Set(['stdout', 'stderr']),
      torn: new Set(),
      damaged: false,
      untouched: false,
    });
  });

  it('of a shim that wrote no check, or whose check was cut, is read as well', () => {
    const old = whole.replace('v1 check 118 end\n', '');
    expect(parseRecord(filled(old))).toEqual(parseRecord(filled(whole)));
  });

  it('is untouched only at its full size', () => {
    expect(parseRecord(filled(''))).toMatchObject({ untouched: true, damaged: false });
    expect(parseRecord('')).toMatchObject({ untouched: false });
    expect(parseRecord(filled(whole))).toMatchObject({ untouched: false });
  });

  it('with any byte changed, gives the code or says that it is damaged, and never that nothing ran [row 36]', () => {
    const bytes = Buffer.from(filled(whole));
    for (let at = 0; at < whole.length + 2; at++) {
      for (const bit of [0x01, 0x02, 0x10, 0x80]) {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ bit;
        const record = parseRecord(changed.toString('utf8'));
        expect([at, bit, record.aborted || record.noCwd || record.untouched]).toEqual([at, bit, false]);
        if (record.exitCode !== 137)
          expect([at, bit, record.exitCode, record.damaged]).toEqual([at, bit, undefined, true]);
      }
    }
  });

  it('whose head was cut off under the shim is damaged', () => {
    const lateWrite = `${'\0'.repeat(whole.indexOf('v1 exit'))}v1 exit 0 end\nv1 check 255 end\n`;
    expect(parseRecord(lateWrite)).toMatchObject({ damaged: true, aborted: false });
    expect(parseRecord(lateWrite).exitCode).toBeUndefined();
  });

  it('cut anywhere, says only what is whole, and never another code [row 36]', () => {
    const exitAt = whole.indexOf('v1 exit 137 end\n') + 'v1 exit 137 end\n'.length;
    for (let length = 0; length <= whole.length; length++) {
      for (const text of [whole.slice(0, length), filled(whole.slice(0, length))]) {
        const record = parseRecord(text);
        // Where the fill follows, a line is whole without its own newline.
        const seen = text.length > length ? length >= exitAt - 1 : length >= exitAt;
        expect([length, record.exitCode]).toEqual([length, seen ? 137 : undefined]);
      }
    }
  });

  it.each([
    'v1 exit 0',
    'v1 exit  end',
    'v1 exit -1 end',
    'v1 exit 1e2 end',
    'v2 exit 0 end',
    'xv1 exit 0 end',
  ])('takes no exit from %j', (line) => {
    expect(parseRecord(filled(`v1 job ${stat} end\n${line}\n`)).exitCode).toBeUndefined();
  });

  it('takes an exit without a job for the end of the shell at the gate', () => {
    expect(parseRecord(filled('v1 exit 143 end\n'))).toMatchObject({ aborted: true });
    expect(parseRecord(filled('v1 nocwd end\nv1 exit 126 end\n'))).toMatchObject({
      aborted: false,
      noCwd: true,
    });
  });
});
