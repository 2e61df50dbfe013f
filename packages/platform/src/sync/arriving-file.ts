import { RemoteError } from '@codex-remote/protocol/wire';
import type { Entry, StagedFile, TreeWriter } from '../tree/index.ts';
import { ContentMac } from './content-mac.ts';
import { Wake } from './wake.ts';

type Content =
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  | { readonly kind: 'copy'; readonly offset: number; readonly length: number };

/** What may wait for the disk; then its sender does. */
const maxPendingBytes = 2 * 1024 * 1024;

/**
 * A file whose content comes piece by piece: staged, then in its place when it is what its sender says. What goes wrong with it
 * is kept until its end: its content still comes. Who has it finishes, leaves or discards it.
 */
export class ArrivingFile {
  readonly #writer: TreeWriter;
  readonly #entry: Entry;
  readonly #mac: ContentMac;
  #staged: StagedFile | undefined;
  /** Came while others were written. */
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #writing: Promise<void> | undefined;
  readonly #room = new Wake();
  readonly #from: number;
  #bytes: number;
  #reused: number;
  #failure: RemoteError | undefined;

  /** `from`: the bytes of it that a run before has left; `key`: of its MAC. */
  constructor(writer: TreeWriter, entry: Entry, from: number, key: Uint8Array) {
    this.#mac = new ContentMac(key);
    this.#writer = writer;
    this.#entry = entry;
    this.#from = from;
    this.#bytes = from;
    this.#reused = from;
  }

  /** Of its content, what has come so far. */
  get arrived(): number {
    return this.#bytes - this.#from;
  }

  /** Of its content, what was here already. */
  get reused(): number {
    return this.#reused;
  }

  begin(): Promise<void> {
    return this.#try(async () => {
      this.#staged = await this.#writer.stage(this.#entry, this.#bytes);
      for await (const bytes of this.#staged.readBack()) this.#mac.update(bytes);
    });
  }

  /** All that is pending, and what comes meanwhile. Never rejects: what goes wrong is told by the next piece or the end. */
  async #write(staged: StagedFile): Promise<void> {
    try {
      while (this.#pending.length > 0 && !this.#failure) {
        const pieces = this.#pending;
        this.#pending = [];
        this.#pendingBytes = 0;
        this.#room.call();
        await staged.write(...pieces);
      }
    } catch (error) {
      this.#failure = RemoteError.from(error);
    }
    this.#pending = [];
    this.#writing = undefined;
    this.#room.call();
  }

  /** The bytes of `item` stay as they are. Throws `protocol_error` for more than there is to be, and `disk_low`. */
  async take(item: Content): Promise<void> {
    const length = item.kind === 'data' ? item.bytes.byteLength : item.length;
    this.#bytes += length;
    if (this.#bytes > this.#entry.size)
      throw new RemoteError('protocol_error', 'a file has more content than its source told');
    if (this.#failure?.code === 'disk_low') throw this.#failure;
    if (this.#failure || !this.#staged) return;
    const staged = this.#staged;
    await this.#try(async () => {
      if (item.kind === 'data') {
        this.#mac.update(item.bytes);
        this.#pending.push(item.bytes);
        this.#pendingBytes += length;
        this.#writing ??= this.#write(staged);
        // Not until all is written: the disk is to have something to do while the next comes.
        while (this.#pendingBytes > maxPendingBytes && !this.#failure) await this.#room.wait();
        return;
      }
      await this.#writing;
      this.#reused += length;
      for await (const bytes of staged.copyBase(item.offset, item.length)) this.#mac.update(bytes);
    });
  }

  /** Throws what went wrong, and `file_changed` where it is not what was sent; nothing is left of it then. */
  async finish(mac: Uint8Array): Promise<void> {
    await this.#writing;
    if (this.#failure) {
      await this.discard();
      throw this.#failure;
    }
    if (this.#bytes === this.#entry.size && this.#mac.digest().equals(mac)) {
      await this.#staged?.commit();
      return;
    }
    await this.discard();
    throw new RemoteError('file_changed', 'what came together of it is not what was sent', {
      hint: 'repeat it: the file was changed meanwhile, on one of the two sides',
    });
  }

  /** For the next run. Safe at any time. */
  async leave(): Promise<void> {
    await this.#writing;
    await this.#staged?.leave();
  }

  async discard(): Promise<void> {
    await this.#writing;
    await this.#staged?.discard();
  }

  /** Throws where it goes wrong for all files. */
  async #try(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#failure = RemoteError.from(error);
      if (this.#failure.code === 'disk_low') throw this.#failure;
    }
  }
}
