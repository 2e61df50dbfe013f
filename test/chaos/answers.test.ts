import { expect, test } from 'vitest';
import { readPrinted } from './answers.ts';
import type { Operation } from './history.ts';

const operation = (more: Partial<Operation>): Operation => ({
  n: 1,
  kind: 'result',
  args: [],
  beganMs: 100,
  endedMs: 200,
  status: 0,
  killed: false,
  overdue: false,
  interrupted: false,
  stderr: '',
  ...more,
});
const bytes = (...lines: unknown[]) =>
  Buffer.from(lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join(''));

test('an answer carries what was said, and when it can have been true', () => {
  const { answers } = readPrinted(
    operation({}),
    bytes({
      ok: true,
      exec_id: 'j1',
      status: 'finished',
      exit_code: 3,
      reason: 'exited',
      stdout_bytes: 5,
      stderr_bytes: 0,
    }),
  );
  expect(answers).toMatchObject([
    {
      execId: 'j1',
      status: 'finished',
      exitCode: 3,
      reason: 'exited',
      fromMs: 100,
      toMs: 200,
      bytes: { stdout: 5 },
    },
  ]);
});

test('records of a follower become its bytes again, newline and bytes that are no text included', () => {
  const log = { type: 'log', stream: 'stdout' };
  const { readings } = readPrinted(
    operation({ kind: 'watch' }),
    bytes(
      { type: 'started', exec_id: 'j1', status: 'running' },
      { ...log, line: 'ab', offset: 0, next_offset: 3 },
      { ...log, line_b64: '/w==', offset: 3, next_offset: 5 },
      { ...log, line: 'end', offset: 5, next_offset: 8 },
      { type: 'finished', exec_id: 'j1', status: 'finished', exit_code: 0 },
    ),
  );
  expect(readings[0]).toMatchObject({ stream: 'stdout', whole: true, gaps: false });
  expect(Buffer.concat(readings[0]?.pieces.map((piece) => piece.bytes) ?? []).toString('latin1')).toBe(
    'ab\n\xff\nend',
  );
});

test('a raw reader is whole by its status only, and the line of its failure is none of the log', () => {
  const raw = { kind: 'follow_raw', stream: 'stderr' } as const;
  expect(readPrinted(operation(raw), Buffer.from('log'))).toMatchObject({ readings: [{ whole: true }] });
  const gone = (from: number) => `codex-remote: 7 bytes of stderr from offset ${from} on are gone\n`;
  const away = 'codex-remote: box is away; not all of it\n';
  const failed = readPrinted(
    operation({ ...raw, status: 1 }),
    Buffer.from(`${gone(0)}log\nen${gone(13)}d${away}`),
  );
  const pieces = [
    { offset: 0, bytes: Buffer.from('') },
    { offset: 7, bytes: Buffer.from('log\nen') },
    { offset: 20, bytes: Buffer.from('d') },
  ];
  const part = { readings: [{ whole: false, gaps: true, pieces }], refusal: { code: 'machine_offline' } };
  expect(failed).toMatchObject(part);
  const other = operation({
    kind: 'follow_raw',
    stream: 'stdout',
    status: 1,
    stderr: `${gone(0)}${gone(13)}${away}`,
  });
  expect(readPrinted(other, Buffer.from('log\nend'))).toMatchObject(part);
});

test('half a line is an offence unless its client was killed', () => {
  expect(readPrinted(operation({}), Buffer.from('{"ok":')).unreadable).toContain('has no end');
  expect(readPrinted(operation({ killed: true }), Buffer.from('{"ok":')).unreadable).toBeUndefined();
  expect(readPrinted(operation({}), bytes('Segmentation fault')).unreadable).toContain('no JSON');
});

test('the rows of a list are answers', () => {
  const { answers } = readPrinted(
    operation({ kind: 'list' }),
    bytes({
      execs: [
        { exec_id: 'j1', status: 'running' },
        { exec_id: 'j2', status: 'lost' },
      ],
      total: 2,
    }),
  );
  expect(answers.map(({ execId, status }) => [execId, status])).toEqual([
    ['j1', 'running'],
    ['j2', 'lost'],
  ]);
});
