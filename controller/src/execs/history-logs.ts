import type { ExecEnded, ExecReport, LogSelection, StreamTail } from '@codex-remote/protocol/schema';
import { encodeRecord, streamId } from '@codex-remote/protocol/wire';

const newline = 0x0a;

type StreamName = 'stdout' | 'stderr';

/** Log records, and whether they are all of what was selected. */
export interface KeptLogs {
  readonly records: Uint8Array;
  readonly complete: boolean;
}

/**
 * What history has of an ended exec's logs, the last raw bytes of each stream, as much of them as `select` asks for.
 * What a read by position wants and history has not is a gap. Lines have no times of their own here: all are dated by
 * the end of the exec.
 */
export function keptLogs(report: ExecReport, state: ExecEnded, select: LogSelection): KeptLogs {
  const records: Uint8Array[] = [];
  const endedMs = state.ended_at === undefined ? undefined : Date.parse(state.ended_at);
  let left = select.max_bytes ?? Number.POSITIVE_INFINITY;
  // Whether lines were written within a span of time is not known of any of them, unless all came before it.
  let complete = select.since_ms === undefined && select.until_ms === undefined;
  if (select.since_ms !== undefined && endedMs !== undefined && endedMs < select.since_ms)
    return { records: new Uint8Array(0), complete: true };
  for (const name of select.streams) {
    const stream = streamId[name];
    const size = name === 'stdout' ? state.stdout_bytes : state.stderr_bytes;
    const tail = (name === 'stdout' ? report.stdout_tail : report.stderr_tail) ?? {
      from: size,
      bytes: new Uint8Array(0),
    };
    const wanted = partOf(tail, select, name);
    if (wanted.missing > 0)
      records.push(
        encodeRecord({ kind: 'gap', stream, offset: tail.from - wanted.missing, missing: wanted.missing }),
      );
    const bytes = tail.bytes.subarray(wanted.begin).subarray(0, left);
    const offset = tail.from + wanted.begin;
    records.push(encodeRecord({ kind: 'data', stream, offset, bytes }));
    if (endedMs !== undefined)
      records.push(
        encodeRecord({ kind: 'time', stream, offset: offset + bytes.byteLength, epochMs: endedMs }),
      );
    left -= bytes.byteLength;
    // What still had writers may have grown since its tail was read.
    const end = Math.max(size, tail.from + tail.bytes.byteLength);
    complete &&= wanted.whole && offset + bytes.byteLength >= end;
  }
  return { records: Buffer.concat(records), complete };
}

interface Part {
  /** Index of the first byte that is wanted. */
  readonly begin: number;
  /** Bytes before the tail that are wanted by position and are not here. */
  readonly missing: number;
  /** Everything that is wanted is here. */
  readonly whole: boolean;
}

function partOf({ from, bytes }: StreamTail, select: LogSelection, stream: StreamName): Part {
  if (select.tail_lines !== undefined) {
    const begin = beginOfLines(bytes, select.tail_lines);
    return { begin, missing: 0, whole: begin > 0 || from === 0 || select.tail_lines === 0 };
  }
  if (select.tail_bytes !== undefined) {
    const begin = Math.max(0, bytes.byteLength - select.tail_bytes);
    return { begin, missing: 0, whole: from === 0 || bytes.byteLength >= select.tail_bytes };
  }
  const first = select.from?.[stream] ?? 0;
  return {
    begin: Math.min(bytes.byteLength, Math.max(0, first - from)),
    missing: Math.max(0, from - first),
    whole: first >= from,
  };
}

/** Where the last `count` lines begin; a last line without newline counts. */
function beginOfLines(bytes: Uint8Array, count: number): number {
  let at = bytes.byteLength;
  for (let left = count; left > 0 && at > 0; left--) at = at < 2 ? 0 : bytes.lastIndexOf(newline, at - 2) + 1;
  return at;
}
