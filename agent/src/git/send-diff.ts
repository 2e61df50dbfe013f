import {
  type ChangedFile,
  type DiffEvent,
  type DiffHead,
  maxPatchBytes,
} from '@codex-remote/protocol/schema';
import { encodeRecord, maxRecordPayloadBytes, RemoteError, streamId } from '@codex-remote/protocol/wire';
import { changedFiles, patchArgs } from './changed-files.ts';
import type { Mirror } from './mirror.ts';

/** Where records go; waiting for the promise is the back-pressure. */
export interface DiffSink {
  write(bytes: Uint8Array): Promise<void>;
}

export interface DiffOrder {
  readonly part: 'files' | 'patch';
  /** The file, or the byte of the patch. */
  readonly from: number;
}

/** JSON of one page: it fits a record. */
const pageBytes = 40 * 1024;

/** Sends what `exec.diff` gives. Throws `git_failed`, `too_large` for a patch that git could not read, `cancelled`. */
export async function sendDiff(
  mirror: Mirror,
  head: DiffHead,
  { part, from }: DiffOrder,
  sink: DiffSink,
  signal: AbortSignal,
): Promise<void> {
  const send = (value: DiffEvent) => sink.write(encodeRecord({ kind: 'event', value }));
  await send({ diff: head });
  const next =
    part === 'files'
      ? await sendFiles(mirror, head, from, send, signal)
      : await sendPatch(mirror, head, from, sink, signal);
  await send({ end: { next, complete: true } });
}

async function sendFiles(
  mirror: Mirror,
  head: DiffHead,
  from: number,
  send: (value: DiffEvent) => Promise<void>,
  signal: AbortSignal,
): Promise<number> {
  let next = from;
  let [page, bytes]: [ChangedFile[], number] = [[], 0];
  const flush = async (): Promise<void> => {
    if (page.length === 0) return;
    await send({ files: page });
    next += page.length;
    [page, bytes] = [[], 0];
  };
  for await (const files of changedFiles(mirror, head, from, signal)) {
    for (const file of files) {
      const length = Buffer.byteLength(JSON.stringify(file)) + 1;
      if (bytes + length > pageBytes) await flush();
      page.push(file);
      bytes += length;
    }
  }
  await flush();
  return next;
}

async function sendPatch(
  mirror: Mirror,
  head: DiffHead,
  from: number,
  sink: DiffSink,
  signal: AbortSignal,
): Promise<number> {
  const git = (await mirror.git()).start(mirror.call(patchArgs(head)), { signal });
  let at = 0;
  try {
    for await (const piece of git.stdout as AsyncIterable<Buffer>) {
      const begin = at;
      at += piece.byteLength;
      if (at > maxPatchBytes)
        throw new RemoteError('too_large', `the patch is longer than ${maxPatchBytes} bytes`, {
          hint: 'exec diff --stat names the files; file read has them one by one while the worktree is there',
        });
      for (let sent = Math.max(begin, from); sent < at; sent += maxRecordPayloadBytes) {
        const bytes = piece.subarray(sent - begin, sent - begin + maxRecordPayloadBytes);
        await sink.write(encodeRecord({ kind: 'data', stream: streamId.content, offset: sent, bytes }));
      }
    }
    await git.done();
  } finally {
    git.kill();
  }
  if (from > at)
    throw new RemoteError('usage', `the patch has ${at} bytes, and is asked for from ${from} on`);
  return at;
}
