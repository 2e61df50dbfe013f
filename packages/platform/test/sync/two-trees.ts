import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SyncCounts } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { ItemWriter, type Report, readItems, Source, Target } from '../../src/sync/index.ts';
import { bytePath, compareTree, scanTree, TreeReader, TreeWriter } from '../../src/tree/index.ts';

export interface PassOptions {
  readonly delete?: boolean;
  readonly checksum?: boolean;
  readonly dryRun?: boolean;
  /** The way to the target breaks behind so many bytes. */
  readonly cutAt?: number;
  /** Called when the source has told its first entries. */
  readonly told?: () => void;
}

export interface Passed {
  readonly counts: SyncCounts | undefined;
  readonly error: RemoteError | undefined;
  readonly reports: Report[];
  /** Bytes that went to the target. */
  readonly sent: number;
}

/** One way of a conversation: one writer, one reader, and a moment at which it breaks. */
export class Way {
  bytes = 0;
  readonly #cutAt: number;
  readonly #queue: Uint8Array[] = [];
  #over: RemoteError | undefined;
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(cutAt = Number.POSITIVE_INFINITY) {
    this.#cutAt = cutAt;
  }

  async send(bytes: Uint8Array): Promise<void> {
    if (this.#over) throw this.#over;
    const left = this.#cutAt - this.bytes;
    // A copy (what slice of a Buffer gives is none): its writer uses the room again.
    this.#queue.push(new Uint8Array(bytes.subarray(0, left)));
    this.bytes += Math.min(left, bytes.byteLength);
    this.#wake?.();
    if (left >= bytes.byteLength) return;
    this.break();
    throw this.#over;
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  break(error = new RemoteError('connection_reset', 'cut by the test')): void {
    this.#over ??= error;
    this.#wake?.();
  }

  async *read(): AsyncGenerator<Uint8Array, void, void> {
    for (;;) {
      const piece = this.#queue.shift();
      if (piece) yield piece;
      else if (this.#over) throw this.#over;
      else if (this.#ended) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}

/** Two folders, and what makes one like the other over a way that may break. */
export class TwoTrees {
  readonly dir = mkdtempSync(join(tmpdir(), 'sync-'));
  readonly from = join(this.dir, 'from');
  readonly to = join(this.dir, 'to');

  constructor() {
    mkdirSync(this.from);
  }

  async pass(options: PassOptions = {}): Promise<Passed> {
    const [toTarget, toSource] = [new Way(options.cutAt), new Way()];
    const reports: Report[] = [];
    const reader = new TreeReader(bytePath(this.from));
    const source = new Source(
      this.#entries(options),
      reader,
      new ItemWriter((bytes) => toTarget.send(bytes)),
    );
    const target = this.target(new ItemWriter((bytes) => toSource.send(bytes)), reports, options);
    const over = (error: unknown): RemoteError => {
      const failure = RemoteError.from(error);
      toTarget.break(failure);
      toSource.break(failure);
      return failure;
    };
    const [told, done] = await Promise.all([
      source.run(readItems(toSource.read()), () => undefined).catch(over),
      target.run(readItems(toTarget.read())).catch(over),
    ]);
    reader.close();
    const error = done instanceof RemoteError ? done : told instanceof RemoteError ? told : undefined;
    return { counts: done instanceof RemoteError ? undefined : done, error, reports, sent: toTarget.bytes };
  }

  target(out: ItemWriter, reports: Report[], options: PassOptions = {}): Target {
    return new Target({
      compare: (source) =>
        compareTree(bytePath(this.to), source, {
          ignore: false,
          checksum: options.checksum ?? false,
          delete: options.delete ?? false,
          rules: [],
        }),
      writer: options.dryRun ? undefined : new TreeWriter(bytePath(this.to)),
      out,
      report: (report) => reports.push(report),
    });
  }

  close(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }

  async *#entries({ checksum, told }: PassOptions) {
    for await (const batch of scanTree(bytePath(this.from), { ignore: false, checksum })) {
      told?.();
      yield batch;
    }
  }
}
