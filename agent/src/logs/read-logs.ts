import { type FSWatcher, watch } from 'node:fs';
import { type ExecEnded, type ExecState, isEnded, type LogSelection } from '@codex-remote/protocol/schema';
import { type Clock, encodeRecord, streamId, type Timer } from '@codex-remote/protocol/wire';
import type { ExecFolder } from '../folder/folder.ts';
import { type RecordSink, StreamReader } from './stream-reader.ts';

/** Where an exec stands, for readers of its logs. */
export interface LogSource {
  /** Another one once a queued exec has left. */
  readonly folder: ExecFolder;
  state(): ExecState;
  /** Of a queued exec: resolves when it is that no more. */
  readonly left?: Promise<void> | undefined;
  /** Resolves with the verdict. */
  readonly ended: Promise<ExecEnded>;
}

export interface ReadLogsOptions {
  readonly source: LogSource;
  readonly select: LogSelection;
  readonly sink: RecordSink;
  readonly clock: Clock;
  /** Resolves when nobody reads any more. */
  readonly gone: Promise<void>;
}

/** Behind the watch, for file systems that tell nothing. */
const pollMs = 1_000;

/**
 * Sends what was selected: first where each stream begins, then data, time and gap records in offset order per stream, the
 * streams taking turns, and last the event `{ended}`: the verdict, or null when the exec still runs or a limit cut. Memory does not depend on the logs: the
 * sink's back-pressure stops the reading. Without `follow` it is what was there when the reading began. Throws `log_gone`, `log_type`, and what the sink rejects with.
 */
export async function readLogs(options: ReadLogsOptions): Promise<void> {
  const { source, select, sink, gone } = options;
  // What is queued has no output, and its files are in another place once it has.
  while (source.left && source.state().status === 'queued') {
    if (!select.follow) return await sendNothing(select, sink);
    if (await Promise.race([source.left, gone.then(() => true)])) return;
  }
  // Before the sizes are taken: what an exec wrote before its end is read after it.
  let state = source.state();
  const readers = await openReaders(source.folder, select);
  const wake = new Wake(options);
  try {
    await sink.write(Buffer.concat(readers.map((reader) => reader.beginning())));
    let budget = select.max_bytes ?? Number.POSITIVE_INFINITY;
    for (;;) {
      budget = await sendAll(readers, sink, budget);
      if (isEnded(state) && budget > 0) return await sendEnd(sink, state);
      if (budget <= 0 || !select.follow) return await sendEnd(sink, null);
      // Not read to the end: someone wrote meanwhile.
      if (!readers.some((reader) => reader.hasMore) && !(await wake.next())) return;
      state = source.state();
    }
  } finally {
    wake.close();
    for (const reader of readers) reader.close();
  }
}

async function sendAll(readers: readonly StreamReader[], sink: RecordSink, budget: number): Promise<number> {
  let left = budget;
  let busy = [...readers];
  while (busy.length > 0 && left > 0) {
    const more: StreamReader[] = [];
    for (const reader of busy) {
      const sent = left > 0 ? await reader.send(sink, left) : 0;
      left -= sent;
      if (sent > 0) more.push(reader);
    }
    busy = more;
  }
  return left;
}

/** Each stream begins at 0, and that is where it ends. */
async function sendNothing(select: LogSelection, sink: RecordSink): Promise<void> {
  const bytes = new Uint8Array(0);
  for (const name of new Set(select.streams))
    await sink.write(encodeRecord({ kind: 'data', stream: streamId[name], offset: 0, bytes }));
  return sendEnd(sink, null);
}

function sendEnd(sink: RecordSink, ended: ExecState | null): Promise<void> {
  return sink.write(encodeRecord({ kind: 'event', value: { ended } }));
}

async function openReaders(folder: ExecFolder, select: LogSelection): Promise<StreamReader[]> {
  const inodes = folder.journal()?.identity?.log_inodes;
  const readers: StreamReader[] = [];
  try {
    for (const name of new Set(select.streams)) {
      const from = select.from?.[name];
      const selection = {
        ...(from !== undefined && { from }),
        ...(select.tail_lines !== undefined && { tailLines: select.tail_lines }),
        ...(select.tail_bytes !== undefined && { tailBytes: select.tail_bytes }),
        ...(select.since_ms !== undefined && { sinceMs: select.since_ms }),
        ...(select.until_ms !== undefined && { untilMs: select.until_ms }),
        ...(select.follow && { grows: true }),
      };
      readers.push(await StreamReader.open(folder, name, selection, inodes?.[name]));
    }
    return readers;
  } catch (error) {
    for (const reader of readers) reader.close();
    throw error;
  }
}

/** Tells when it is worth looking again: something was written, the exec has ended, or a while has passed. */
class Wake {
  readonly #clock: Clock;
  #watcher: FSWatcher | undefined;
  #pending = false;
  #gone = false;
  #resume: (() => void) | undefined;

  constructor(options: ReadLogsOptions) {
    this.#clock = options.clock;
    if (!options.select.follow) return;
    const signal = (): void => {
      this.#pending = true;
      this.#resume?.();
    };
    try {
      this.#watcher = watch(options.source.folder.path, { persistent: false }, signal);
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      // No watches left, or the folder is gone: the poll must do.
    }
    void options.source.ended.then(signal);
    void options.gone.then(() => {
      this.#gone = true;
      signal();
    });
  }

  /** False when nobody reads any more. */
  async next(): Promise<boolean> {
    if (!this.#pending) {
      let timer: Timer | undefined;
      await new Promise<void>((resolve) => {
        this.#resume = resolve;
        timer = this.#clock.setTimer(pollMs, resolve);
      });
      timer?.cancel();
      this.#resume = undefined;
    }
    this.#pending = false;
    return !this.#gone;
  }

  close(): void {
    this.#watcher?.close();
  }
}
