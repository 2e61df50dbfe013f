import type { SyncCounts } from '@codex-remote/protocol/schema';
import { RemoteError, syncJsonItem, syncLimits } from '@codex-remote/protocol/wire';
import { type Action, type BytePath, type Entry, ManifestParser, type TreeWriter } from '../tree/index.ts';
import { ArrivingFile } from './arriving-file.ts';
import { chunksInItem, encodeChunks, minDeltaBytes } from './delta.ts';
import type { Incoming } from './item-reader.ts';
import type { ItemWriter } from './item-writer.ts';
import { type Report, readReport, reportOf } from './report.ts';
import { Wake } from './wake.ts';

export interface TargetOptions {
  /** What is to be done, in the order of `source`; all of a batch was given when it asks for the next. */
  readonly compare: (source: AsyncIterable<readonly Entry[]>) => AsyncIterable<readonly Action[]>;
  /** Undefined: nothing is written. `run` closes it on every path. */
  readonly writer: TreeWriter | undefined;
  readonly out: ItemWriter;
  readonly report: (report: Report) => void;
  /** Called when `counts` or `wanted` did. */
  readonly changed?: () => void;
}

interface Wanted {
  readonly entry: Entry;
  readonly index: number;
  readonly from: number;
  readonly delta: boolean;
}

/** Files after which the source is told how far it is. */
const filesBetweenProgress = 64;
/** Changed files of which the pieces that are there may be on their way at once: each is memory of the source. */
const maxDeltasAhead = 4;
/** What goes wrong so goes wrong for all that follows. */
const ends: ReadonlySet<string> = new Set([
  'disk_low',
  'fds_exhausted',
  'cancelled',
  'internal',
  'protocol_error',
]);

/**
 * Compares a tree that is told with the one that is there, asks for what is to be sent, and puts it in its place. One reader
 * takes what comes, one comparison runs beside it; both write what they have to say.
 */
export class Target {
  readonly counts: SyncCounts = {
    entries: 0,
    files: 0,
    directories: 0,
    links: 0,
    changed: 0,
    removed: 0,
    unchanged: 0,
    bytes: 0,
    reused: 0,
    refused: 0,
  };
  /** Asked for so far. */
  readonly wanted = { files: 0, bytes: 0 };
  readonly #options: TargetOptions;
  readonly #parser = new ManifestParser();
  readonly #indexes = new WeakMap<Entry, number>();
  /** The comparison waits for entries, or for answers to what it wants. */
  readonly #told = new Wake();
  readonly #answered = new Wake();
  readonly #batches: (readonly Entry[])[] = [];
  /** Entries that came and were not taken for comparison. */
  #waiting = 0;
  #entries = 0;
  /** Asked for and not answered, in order. */
  readonly #wants: Wanted[] = [];
  #deltas = 0;
  #arriving: ArrivingFile | undefined;
  #failure: RemoteError | undefined;

  constructor(options: TargetOptions) {
    this.#options = options;
  }

  /** Content that has come, that of the file in the middle too. */
  get arrivedBytes(): number {
    return this.counts.bytes + (this.#arriving?.arrived ?? 0);
  }

  /** Until all of it is done; the result has been said then. Throws what ended `incoming`, `disk_low`, `protocol_error`. */
  async run(incoming: AsyncIterable<Incoming>): Promise<SyncCounts> {
    const over = Promise.withResolvers<void>();
    const fail = (error: unknown): void => {
      this.#failure ??= RemoteError.from(error);
      this.#told.call();
      this.#answered.call();
      over.reject(this.#failure);
    };
    void this.#receive(incoming).catch(fail);
    void this.#compare().then(over.resolve, fail);
    try {
      await over.promise;
    } finally {
      try {
        // What is being written stays, to be gone on with.
        await this.#arriving?.leave();
      } finally {
        await this.#options.writer?.close();
      }
    }
    await this.#options.out.putEncoded(syncJsonItem('result', this.counts));
    await this.#options.out.flush();
    return this.counts;
  }

  async #receive(incoming: AsyncIterable<Incoming>): Promise<void> {
    for await (const item of incoming) {
      if (this.#failure) return;
      if (item.kind === 'entries' || item.kind === 'entries_end') this.#take(item.bytes);
      else if (item.kind === 'report') this.#options.report(readReport(item.value));
      else await this.#content(item);
    }
    if (!this.#parser.ended || this.#wants.length > 0)
      throw new RemoteError('stream_cut', 'a sync ended before all of it was there');
  }

  #take(piece: Uint8Array): void {
    const entries = this.#parser.push(piece);
    for (const entry of entries) this.#indexes.set(entry, this.#entries++);
    this.#waiting += entries.length;
    if (this.#waiting > 2 * syncLimits.maxEntriesAhead)
      throw new RemoteError('protocol_error', 'a source tells more than may be ahead');
    if (entries.length > 0) this.#batches.push(entries);
    this.#told.call();
  }

  /** For the comparison. */
  async *#source(): AsyncGenerator<readonly Entry[], void, void> {
    const { counts } = this;
    for (;;) {
      if (this.#failure) throw this.#failure;
      const batch = this.#batches.shift();
      if (batch) {
        counts.entries += batch.length;
        for (const { type } of batch) if (type !== 'other' && type !== 'rules') counts.unchanged += 1;
        this.#waiting -= batch.length;
        yield batch;
        await this.#options.out.put({ kind: 'compared', count: counts.entries });
        // The source may begin to send while the rest is compared.
        void this.#options.out.flush();
        this.#options.changed?.();
      } else if (this.#parser.ended) return;
      else await this.#flushAndWait(this.#told);
    }
  }

  async #compare(): Promise<void> {
    for await (const actions of this.#options.compare(this.#source()))
      for (const action of actions) {
        if (this.#failure) throw this.#failure;
        if ('entry' in action) this.counts.unchanged -= 1;
        await this.#act(action);
      }
    while (this.#wants.length > 0 && !this.#failure) await this.#flushAndWait(this.#answered);
    if (this.#failure) throw this.#failure;
  }

  /** What is not on its way yet is what the other side may wait for. */
  async #flushAndWait(wake: Wake): Promise<void> {
    const woken = wake.wait();
    await this.#options.out.flush();
    await woken;
  }

  async #act(action: Action): Promise<void> {
    const { writer } = this.#options;
    try {
      if (action.do === 'send' && writer) {
        await this.#want(action, writer);
        return;
      }
      if (writer) write(action, writer);
      this.#tell(reportOf(action));
    } catch (error) {
      this.#refuse('entry' in action ? action.entry.path : action.path, error);
    }
  }

  async #want({ entry, base }: Extract<Action, { do: 'send' }>, writer: TreeWriter): Promise<void> {
    const index = this.#indexes.get(entry);
    if (index === undefined) throw new RemoteError('internal', 'a comparison made up an entry');
    const from = entry.size > syncLimits.maxSmallBytes ? writer.partBytes(entry) : 0;
    const delta = base !== undefined && Math.min(base.size, entry.size) >= minDeltaBytes;
    if (delta) await this.#tellChunks(entry, writer);
    this.#wants.push({ entry, index, from, delta });
    this.wanted.files += 1;
    this.wanted.bytes += entry.size;
    await this.#options.out.put({ kind: 'want', index, from });
  }

  async #tellChunks(entry: Entry, writer: TreeWriter): Promise<void> {
    while (this.#deltas >= maxDeltasAhead && !this.#failure) await this.#flushAndWait(this.#answered);
    if (this.#failure) throw this.#failure;
    this.#deltas += 1;
    for await (const chunks of writer.baseChunks(entry))
      for (let at = 0; at < chunks.length; at += chunksInItem)
        await this.#options.out.put({
          kind: 'chunks',
          bytes: encodeChunks(chunks.slice(at, at + chunksInItem)),
        });
  }

  /** An answer to the first want. */
  async #content(item: Incoming): Promise<void> {
    const { writer } = this.#options;
    const want = this.#wants[0];
    const arriving = this.#arriving;
    if (!writer || !want) throw unexpected(item);
    const { entry, index, from } = want;
    if (item.kind === 'small' && !arriving && item.index === index)
      await this.#settle(want, () => writer.writeSmall(entry, item.bytes));
    else if (item.kind === 'file' && !arriving && item.index === index && item.from === from) {
      this.#arriving = new ArrivingFile(writer, entry, from, item.key);
      await this.#arriving.begin();
    } else if ((item.kind === 'data' || item.kind === 'copy') && arriving) {
      await arriving.take(item);
      this.#options.changed?.();
    } else if (item.kind === 'end' && arriving) {
      await this.#settle(want, () => arriving.finish(item.mac));
      this.counts.reused += arriving.reused;
    } else if (item.kind === 'lost')
      await this.#settle(want, async () => {
        await arriving?.discard();
        throw RemoteError.fromWire(item.value);
      });
    else throw unexpected(item);
  }

  /** What fails is of that file alone, where it is not the disk. */
  async #settle({ entry, delta }: Wanted, work: () => Promise<void> | void): Promise<void> {
    try {
      await work();
      this.#tell({ do: 'send', path: entry.path, size: entry.size });
    } catch (error) {
      this.#refuse(entry.path, error);
    }
    this.#arriving = undefined;
    this.#wants.shift();
    if (delta) this.#deltas -= 1;
    if (this.counts.files % filesBetweenProgress === 0)
      void this.#options.out.putEncoded(syncJsonItem('progress', this.counts));
    this.#answered.call();
  }

  /** Throws what ends all of it. */
  #refuse(path: BytePath, error: unknown): void {
    const { code, message } = RemoteError.from(error);
    if (ends.has(code)) throw error;
    this.#tell({ do: 'refuse', path, code, why: message });
  }

  #tell(report: Report): void {
    const { counts } = this;
    if (report.do === 'send') {
      counts.files += 1;
      counts.bytes += report.size ?? 0;
    } else if (report.do === 'make') counts.directories += 1;
    else if (report.do === 'link') counts.links += 1;
    else if (report.do === 'chmod') counts.changed += 1;
    else if (report.do === 'remove') counts.removed += 1;
    else if (report.do === 'refuse') counts.refused += 1;
    this.#options.report(report);
    this.#options.changed?.();
  }
}

function write(action: Action, writer: TreeWriter): void {
  if (action.do === 'make') writer.makeDirectory(action.entry);
  else if (action.do === 'link') writer.link(action.entry);
  else if (action.do === 'chmod') writer.chmod(action.entry);
  else if (action.do === 'remove') writer.remove(action.path);
}

function unexpected(item: Incoming): RemoteError {
  return new RemoteError('protocol_error', `a source says ${item.kind} out of turn`);
}
