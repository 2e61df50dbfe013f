import type { ExecEnded, LogSelection } from '@codex-remote/protocol/schema';
import { RecordParser, streamId } from '@codex-remote/protocol/wire';
import { describe, expect, test } from 'vitest';
import { keptLogs } from '../../src/execs/history-logs.ts';

const state: ExecEnded = {
  exec_id: 'e',
  digest: 'd',
  mode: 'async',
  command: 'true',
  accepted_at: '2026-01-01T00:00:00.000Z',
  ended_at: '2026-01-01T00:00:01.000Z',
  duration_ms: 1000,
  status: 'finished',
  reason: 'exited',
  exit_code: 0,
  stdout_bytes: 100,
  stderr_bytes: 3,
};
/** The last 12 bytes of stdout, all of stderr. */
const report = {
  state,
  stdout_tail: { from: 88, bytes: Buffer.from('ne\nbb\nccc\nd\n') },
  stderr_tail: { from: 0, bytes: Buffer.from('no\n') },
};

function read(select: Partial<LogSelection>, ended = state) {
  const { records, complete } = keptLogs(report, ended, { streams: ['stdout'], follow: false, ...select });
  const text: Record<number, string> = { [streamId.stdout]: '', [streamId.stderr]: '' };
  const gaps: [number, number][] = [];
  const times: number[] = [];
  for (const record of new RecordParser().push(records)) {
    if (record.kind === 'data') text[record.stream] += Buffer.from(record.bytes).toString();
    else if (record.kind === 'gap') gaps.push([record.offset, record.missing]);
    else if (record.kind === 'time') times.push(record.epochMs);
  }
  return { stdout: text[streamId.stdout], stderr: text[streamId.stderr], gaps, times, complete };
}

describe('logs of an ended exec whose machine is away', () => {
  test('the lines that were asked for and are here are all there is to say', () => {
    expect(read({ tail_lines: 2 })).toMatchObject({ stdout: 'ccc\nd\n', gaps: [], complete: true });
    expect(read({ tail_bytes: 4 })).toMatchObject({ stdout: 'c\nd\n', complete: true });
    expect(read({ from: { stdout: 94 } })).toMatchObject({ stdout: 'ccc\nd\n', gaps: [], complete: true });
    expect(read({ streams: ['stderr'] })).toMatchObject({ stderr: 'no\n', gaps: [], complete: true });
  });

  test('more lines than are kept are not complete', () => {
    expect(read({ tail_lines: 100 })).toMatchObject({ stdout: 'ne\nbb\nccc\nd\n', complete: false });
    expect(read({ tail_bytes: 50 })).toMatchObject({ complete: false });
  });

  test('what has grown since its tail was read is not complete', () => {
    expect(read({ tail_lines: 2 }, { ...state, stdout_bytes: 101 })).toMatchObject({ complete: false });
  });

  test('what a read by position wants and nobody has is a gap', () => {
    expect(read({})).toMatchObject({ stdout: 'ne\nbb\nccc\nd\n', gaps: [[0, 88]], complete: false });
    expect(read({ from: { stdout: 50 } })).toMatchObject({ gaps: [[50, 38]], complete: false });
  });

  test('a limit cuts, and says so', () => {
    expect(read({ streams: ['stderr', 'stdout'], tail_lines: 1, max_bytes: 4 })).toMatchObject({
      stderr: 'no\n',
      stdout: 'd',
      complete: false,
    });
  });

  test('all that is known of times is when the exec ended', () => {
    const ended = Date.parse('2026-01-01T00:00:01.000Z');
    expect(read({ tail_lines: 1 }).times).toEqual([ended]);
    expect(read({ since_ms: ended + 1 })).toMatchObject({ stdout: '', complete: true });
    expect(read({ since_ms: ended - 1 })).toMatchObject({ complete: false });
  });

  test('an exec without output has none', () => {
    const silent = { ...state, stdout_bytes: 0, stderr_bytes: 0 };
    expect(keptLogs({ state: silent }, silent, { streams: ['stdout'], follow: false }).complete).toBe(true);
  });
});
