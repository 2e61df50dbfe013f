import type { Reading, Stream } from './answers.ts';
import type { Evidence } from './evidence.ts';
import type { Operation } from './history.ts';

/**
 * Every reader got the same bytes, the ones that the job wrote: each at its offset, in order, none twice, none left out
 * without a word. What was read last of all is the measure. Pure.
 */
export function* checkReadings(evidence: Evidence): Generator<readonly [string, ...Operation[]]> {
  const { truth, printed } = evidence;
  const readings = printed.flatMap((one) => one.readings);
  for (const stream of ['stdout', 'stderr'] as const) {
    const own = readings.filter((reading) => reading.stream === stream);
    const last = own.find(({ operation }) => operation.kind === 'last_read');
    if (!last?.whole) continue;
    const final = last.pieces[0]?.bytes ?? new Uint8Array();
    yield* againstTruth(evidence, stream, truth[stream], final, last.operation);
    for (const reading of own) yield* againstFinal(evidence, reading, final);
  }
}

/** A job that came to its end has all its bytes in the log; one that was ended has the first of them. */
function* againstTruth(
  { truth, answers, story }: Evidence,
  stream: Stream,
  wrote: Uint8Array,
  final: Uint8Array,
  operation: Operation,
): Generator<readonly [string, ...Operation[]]> {
  if (story.shape.kind === 'missing') return;
  const at = firstDifference(wrote, 0, final);
  if (at !== undefined) yield [`${stream} differs from what the job wrote, at ${at}`, operation];
  const ownEnd = answers.some(({ reason }) => reason === 'exited');
  if (ownEnd && truth.exitCode !== undefined && final.byteLength < wrote.byteLength)
    yield [
      `${stream} has ${final.byteLength} of the ${wrote.byteLength} bytes that the job wrote`,
      operation,
    ];
}

function* againstFinal(
  evidence: Evidence,
  { stream, pieces, gaps, whole, operation }: Reading,
  final: Uint8Array,
): Generator<readonly [string, ...Operation[]]> {
  let next = 0;
  for (const { offset, bytes } of pieces) {
    if (offset < next) yield [`${stream} has bytes ${offset} to ${next} twice`, operation];
    if (offset > next && !gaps) yield [`${stream} has a hole from ${next} to ${offset}`, operation];
    const at = firstDifference(final, offset, bytes);
    if (at !== undefined) yield [`${stream} differs from what others read, at ${at}`, operation];
    next = offset + bytes.byteLength;
  }
  if (!whole || gaps || next >= final.byteLength || hasLateOutput(evidence)) return;
  if (operation.kind !== 'read_json' || endedBefore(evidence, operation))
    yield [`${stream} was said to be whole with ${next} of ${final.byteLength} bytes`, operation];
}

/** What it left in the background goes on writing after its end; so does a job whose shim is gone. */
function hasLateOutput({ story, shimKilled }: Evidence): boolean {
  return story.shape.kind === 'background' || shimKilled;
}

function endedBefore({ answers }: Evidence, { beganMs }: Operation): boolean {
  return answers.some(({ status, toMs }) => (status === 'finished' || status === 'lost') && toMs < beganMs);
}

/** Where `bytes`, which stand at `offset`, are not those of `all`; what reaches beyond its end differs there. */
function firstDifference(all: Uint8Array, offset: number, bytes: Uint8Array): number | undefined {
  const expected = Buffer.from(all.buffer, all.byteOffset, all.byteLength).subarray(
    offset,
    offset + bytes.byteLength,
  );
  if (expected.equals(bytes)) return undefined;
  const within = bytes.findIndex((byte, index) => byte !== expected[index]);
  return offset + within;
}
