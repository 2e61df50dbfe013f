import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { failpoint, makePrivateDir, syncDirSync } from '@codex-remote/platform';
import type { AuditList, AuditVerdict } from '@codex-remote/protocol/schema';
import { type Clock, RemoteError, type Timer } from '@codex-remote/protocol/wire';
import { GroupSync } from '../group-sync.ts';
import { genesis, type Head, nextLine } from './chain.ts';
import type { AuditEntry } from './entry.ts';
import type { HeadStore } from './head-store.ts';
import { type AuditFilter, listAudit } from './list.ts';
import { recoverEnd } from './recover.ts';
import { checkpointOf, dueRemoval, removeSegments } from './retention.ts';
import { listSegments, type Segment, segmentOf } from './segments.ts';
import { type AuditSettings, defaultAuditSettings } from './settings.ts';
import { verifyAudit } from './verify.ts';

/** What the rest of the controller sees of the audit log. */
export interface Audit {
  /**
   * On disk when it resolves; those that come together share one sync. Rejects with `disk_low` or `state_unusable`; the
   * caller does not do then what it wanted to have recorded, or the log says later how many entries it lacks.
   */
  record(entry: AuditEntry): Promise<void>;
  /**
   * As `record` for who has something to do meanwhile: the entry is written when it returns, and survives this process. Throws
   * where it cannot be written; nothing of it is kept then.
   */
  write(entry: AuditEntry): { readonly durable: Promise<void> };
  /**
   * Tells what became of something whose intent is recorded: written when it returns, on disk with the next sync or soon. Where it
   * cannot be written it is among those that the log says it lacks.
   */
  note(entry: AuditEntry): void;
  /** The newest first. */
  list(filter: AuditFilter): Promise<AuditList>;
  /** Every link recomputed, and the end compared with what is known of it. */
  verify(): Promise<AuditVerdict>;
}

export interface AuditLogOptions {
  readonly dir: string;
  readonly clock: Clock;
  readonly heads: HeadStore;
  readonly settings?: AuditSettings;
}

/** How long a note waits for a sync that somebody else asks for. */
const noteLagMs = 50;
/** How long the second place may lag behind what is on disk. */
const headLagMs = 50;
const own = { principal: 'controller', source: 'process' } as const;

/**
 * The audit log: files of JSON lines, each line with the hash of the line before it, also over the files. Appended to by this
 * process alone; lines are written in turn on the main thread (tens of microseconds) and synced off it.
 */
export class AuditLog implements Audit {
  readonly #options: AuditLogOptions;
  readonly #settings: AuditSettings;
  #segment: Segment;
  #fd: number;
  #sync: GroupSync;
  #bytes: number;
  #head: Head;
  /** Entries that could not be written since the last one that could. */
  #missed = 0;
  /** The last line that is on disk for sure. */
  #durable: Head = genesis;
  #saving: Timer | undefined;
  #noted: Timer | undefined;

  /** Repairs what a crash left at the end. Throws `state_unusable`, `disk_low`. */
  constructor(options: AuditLogOptions) {
    this.#options = options;
    this.#settings = options.settings ?? defaultAuditSettings;
    const { dir, heads } = options;
    makePrivateDir(dir);
    const segments = listSegments(dir);
    const durable = heads.load();
    const { head, torn } = told(dir, () => recoverEnd(segments, durable));
    this.#head = head ?? genesis;
    this.#segment = segments.at(-1) ?? segmentOf(dir, 1);
    this.#fd = told(dir, () => openSegment(dir, this.#segment));
    this.#sync = new GroupSync(this.#fd);
    this.#bytes = fstatSync(this.#fd).size;
    if (torn)
      this.note({
        ...own,
        verb: 'audit.repair',
        result: 'done',
        reason: 'a crash left part of a line',
        facts: { file: torn.file, bytes: torn.bytes, sha256: torn.sha256 },
      });
    if (durable && !reaches(this.#head, durable))
      this.note({
        ...own,
        verb: 'audit.damage',
        result: 'failed',
        reason: 'lines that were on disk are gone or changed',
        facts: { known_seq: durable.seq, known_hash: durable.hash, found_seq: this.#head.seq },
      });
    told(dir, () => this.#expire());
  }

  list(filter: AuditFilter): Promise<AuditList> {
    return listAudit(this.#options.dir, filter);
  }

  verify(): Promise<AuditVerdict> {
    const { dir, heads } = this.#options;
    return verifyAudit(dir, { head: this.#head, saved: heads.load() });
  }

  record(entry: AuditEntry): Promise<void> {
    try {
      return this.write(entry).durable;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  write(entry: AuditEntry): { readonly durable: Promise<void> } {
    this.#put(entry);
    return { durable: this.#synced() };
  }

  note(entry: AuditEntry): void {
    try {
      this.#put(entry);
    } catch {
      return;
    }
    this.#noted ??= this.#options.clock.setTimer(noteLagMs, () => void this.#synced());
  }

  /** What is written is synced first. */
  async close(): Promise<void> {
    const head = this.#head;
    await this.#sync.sync().then(
      () => this.#reached(head),
      () => undefined,
    );
    this.#noted?.cancel();
    this.#saving?.cancel();
    this.#save();
    this.#options.heads.close();
    await this.#sync.close();
  }

  /** Throws where it cannot be written; nothing of it is kept then. */
  #put(entry: AuditEntry): void {
    try {
      this.#rotate();
      if (this.#missed > 0) {
        const reason = 'entries could not be written';
        this.#append({
          ...own,
          verb: 'audit.missed',
          result: 'failed',
          reason,
          facts: { count: this.#missed },
        });
        this.#missed = 0;
      }
      this.#append(entry);
    } catch (error) {
      this.#missed++;
      throw unusable(this.#segment.path, error);
    }
  }

  /** Of everything that is written by now. Who does not wait for it has its reasons. */
  #synced(): Promise<void> {
    this.#noted?.cancel();
    this.#noted = undefined;
    const head = this.#head;
    const durable = this.#sync.sync().then(
      () => {
        this.#reached(head);
        failpoint('controller.audit.after');
      },
      (error: unknown) => {
        throw unusable(this.#segment.path, error);
      },
    );
    durable.catch(() => undefined);
    return durable;
  }

  #append(entry: AuditEntry): void {
    const line = nextLine(this.#head, this.#options.clock.wall(), entry);
    failpoint('controller.audit.before');
    const bytes = Buffer.from(line.text);
    try {
      for (let at = 0; at < bytes.byteLength; ) at += writeSync(this.#fd, bytes, at);
    } catch (error) {
      // Part of it may be there.
      ftruncateSync(this.#fd, this.#bytes);
      throw error;
    }
    this.#bytes += bytes.byteLength;
    this.#head = line.head;
    failpoint('controller.audit.written');
  }

  #rotate(): void {
    if (this.#bytes < this.#settings.segment_bytes) return;
    failpoint('controller.audit_rotate.before');
    // What follows counts only where this is on disk.
    fsyncSync(this.#fd);
    const segment = segmentOf(this.#options.dir, this.#segment.number + 1);
    const fd = openSegment(this.#options.dir, segment);
    void this.#sync.close();
    this.#segment = segment;
    this.#fd = fd;
    this.#sync = new GroupSync(fd);
    this.#bytes = fstatSync(fd).size;
    failpoint('controller.audit_rotate.after');
    this.#expire();
  }

  /** The checkpoint is on disk before what it names is removed. */
  #expire(): void {
    const removal = dueRemoval(this.#options.dir, this.#settings, this.#head, this.#options.clock.wall());
    if (!removal) return;
    this.#append(checkpointOf(removal));
    fsyncSync(this.#fd);
    removeSegments(this.#options.dir, removal);
  }

  #reached(head: Head): void {
    if (head.seq <= this.#durable.seq) return;
    this.#durable = head;
    this.#saving ??= this.#options.clock.setTimer(headLagMs, () => this.#save());
  }

  #save(): void {
    this.#saving = undefined;
    if (this.#durable.seq === 0) return;
    try {
      this.#options.heads.save(this.#durable);
    } catch {
      // A full disk: the next one is saved. Until then the place that is kept is an older one, and as true.
    }
  }
}

function reaches(head: Head, known: Head): boolean {
  return head.seq === known.seq ? head.hash === known.hash : head.seq > known.seq;
}

/** Its name is on disk when this returns. */
function openSegment(dir: string, { path }: Segment): number {
  const fd = openSync(
    path,
    constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW,
    0o600,
  );
  try {
    if (!fstatSync(fd).isFile())
      throw new RemoteError('state_unusable', `${path} is in the way: it is no file`);
    syncDirSync(dir);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** What `work` gives. */
function told<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw unusable(path, error);
  }
}

function unusable(path: string, error: unknown): RemoteError {
  const failure = RemoteError.from(error);
  if (failure.code === 'disk_low')
    return new RemoteError(
      'disk_low',
      `the audit log ${path} cannot be written: its disk is full`,
      { hint: 'free some disk on the machine of the controller; nothing is done that cannot be recorded' },
      error,
    );
  if (failure.code !== 'internal') return failure;
  const errno = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
  return new RemoteError(
    'state_unusable',
    `the audit log ${path} cannot be written${errno}`,
    { hint: `look at ${path} and its folder: they are to be the controller's own, 0600 and 0700` },
    error,
  );
}
