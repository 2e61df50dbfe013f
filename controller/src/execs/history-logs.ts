import type { ExecReport, LogSelection } from '@codex-remote/protocol/schema';
import { encodeRecord, streamId } from '@codex-remote/protocol/wire';

const newline = 0x0a;

/** What history has of an exec's logs, its last raw bytes, as records: as much of them as `select` asks for. */
export function tailRecords(report: ExecReport, select: LogSelection): Uint8Array {
  const records = select.streams.map((stream) => {
    const tail = stream === 'stdout' ? report.stdout_tail : report.stderr_tail;
    if (!tail) return new Uint8Array(0);
    const begin = Math.max(0, beginOf(tail.bytes, tail.from, select, stream));
    return encodeRecord({
      kind: 'data',
      stream: streamId[stream],
      offset: tail.from + begin,
      bytes: tail.bytes.subarray(begin),
    });
  });
  return Buffer.concat(records);
}

function beginOf(bytes: Uint8Array, from: number, select: LogSelection, stream: 'stdout' | 'stderr'): number {
  if (select.tail_lines !== undefined) return beginOfLines(bytes, select.tail_lines);
  if (select.tail_bytes !== undefined) return bytes.byteLength - select.tail_bytes;
  return Math.min(bytes.byteLength, (select.from?.[stream] ?? 0) - from);
}

/** Where the last `count` lines begin; a last line without newline counts. */
function beginOfLines(bytes: Uint8Array, count: number): number {
  let at = bytes.byteLength;
  for (let left = count; left > 0 && at > 0; left--) at = at < 2 ? 0 : bytes.lastIndexOf(newline, at - 2) + 1;
  return at;
}
