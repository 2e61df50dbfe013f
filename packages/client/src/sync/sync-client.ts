import type { Report } from '@codex-remote/platform/sync';
import type { SyncCounts } from '@codex-remote/protocol/schema';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import type { Connection } from '../connection.ts';
import { comingBackCodes, cutCodes, Resume, resumeMs } from '../resume.ts';
import { Conversation } from './conversation.ts';
import { addPass, readCounts, type SyncOrder, type SyncProgress, type SyncSummary } from './order.ts';
import { type Pass, pullPass, pushPass } from './pass.ts';

/** Passes in a row of which none has brought anything, before it is given up. */
const maxIdlePasses = 5;
/** Content of a pass that counts as something. */
const minMovedBytes = 64 * 1024;
/** As many as that in a row can be needed for one huge file; one that never ends is not asked for again and again. */
const maxFruitlessPasses = 1000;
/** Passes for files that change while they are read. */
const maxChangedPasses = 3;

/** Whether it leaves open how far it came: the trees are compared again, and what is done is not done twice. */
function isLost(code: string): boolean {
  return cutCodes.has(code) || comingBackCodes.has(code);
}

type MakePass = typeof pushPass;

/** Makes a tree of a machine and one here alike, over connections that break. */
export class SyncClient {
  readonly #connection: Connection;
  readonly #clock: Clock;

  constructor(connection: Connection, clock: Clock) {
    this.#connection = connection;
    this.#clock = clock;
  }

  /**
   * The tree of the machine becomes the one here. What fails of one name is reported and the rest goes on; throws what ends it,
   * and then what was done is done: the same order again goes on from there.
   */
  push(order: SyncOrder): Promise<SyncSummary> {
    return new Passes(this.#connection, this.#clock, order, 'push', pushPass).run();
  }

  /** The tree here becomes the one of the machine; as `push`. */
  pull(order: SyncOrder): Promise<SyncSummary> {
    return new Passes(this.#connection, this.#clock, order, 'pull', pullPass).run();
  }
}

class Passes {
  readonly #connection: Connection;
  readonly #order: SyncOrder;
  readonly #verb: 'push' | 'pull';
  readonly #make: MakePass;
  readonly #resume: Resume;
  #sum: SyncCounts = readCounts(undefined);
  #sent = 0;
  #received = 0;
  #skipped = 0;
  /** By either side: what the source cannot send is not told to the target. */
  #refused = 0;
  #resumed = 0;
  /** Passes in a row in which next to nothing moved, and those in which no name was finished. */
  #idle = 0;
  #fruitless = 0;
  /** Files that the pass which runs refused because they were changed. */
  #changed: Report[] = [];

  constructor(connection: Connection, clock: Clock, order: SyncOrder, verb: 'push' | 'pull', make: MakePass) {
    this.#connection = connection;
    this.#order = order;
    this.#verb = verb;
    this.#make = make;
    this.#resume = new Resume(clock, order.signal);
  }

  async run(): Promise<SyncSummary> {
    for (let passes = 1, changedPasses = 1; ; passes++) {
      this.#changed = [];
      this.#skipped = 0;
      this.#refused = 0;
      try {
        // The items are between us and the machine: whoever passes them on brings machines of our release up.
        if (passes === 1) await this.#connection.useOwnRelease();
        await this.#pass(passes > 1);
        if (this.#changed.length === 0 || changedPasses++ === maxChangedPasses) break;
      } catch (error) {
        await this.#after(RemoteError.from(error));
        this.#resumed += 1;
      }
    }
    for (const report of this.#changed) this.#order.report?.(report);
    const { entries: _, ...counts } = this.#sum;
    return {
      ...counts,
      sent_bytes: this.#sent,
      received_bytes: this.#received,
      refused: this.#refused,
      skipped: this.#skipped,
      resumed: this.#resumed,
    };
  }

  async #pass(again: boolean): Promise<void> {
    const talk = new Conversation(this.#connection, this.#path(again), this.#order.signal);
    const before = this.#sum;
    let pass: Pass | undefined;
    const tell = (phase: SyncProgress['phase']): void => {
      const now = pass?.progress();
      if (!now) return;
      const { progress } = this.#order;
      progress?.({
        phase,
        entries: now.entries,
        files: before.files + now.files,
        bytes: before.bytes + now.bytes,
        filesTotal: before.files + now.filesTotal,
        bytesTotal: before.bytes + now.bytesTotal,
      });
    };
    pass = this.#make(
      this.#order,
      talk,
      (report) => this.#report(report),
      () => tell(pass && pass.progress().filesTotal > pass.progress().files ? 'sending' : 'comparing'),
    );
    try {
      await pass.run();
      tell('ending');
    } catch (error) {
      tell('waiting');
      throw error;
    } finally {
      await talk.close();
      const counts = pass.counts();
      const done = counts.files + counts.directories + counts.links + counts.removed;
      this.#fruitless = done > 0 ? 0 : this.#fruitless + 1;
      // What came of a large file stays.
      if (done > 0 || pass.progress().bytes >= minMovedBytes) this.#idle = 0;
      this.#sum = addPass(before, counts);
      this.#sent += talk.out.sentBytes;
      this.#received += talk.receivedBytes;
    }
  }

  #report(report: Report): void {
    if (report.do === 'skip') this.#skipped += 1;
    if (report.do === 'refuse') this.#refused += 1;
    if (report.do === 'refuse' && report.code === 'file_changed') this.#changed.push(report);
    // What was skipped is skipped again by every pass.
    else if (report.do !== 'skip' || this.#resumed === 0) this.#order.report?.(report);
  }

  /** Waits until it can go on. Throws what cannot be gone on from. */
  async #after(failure: RemoteError): Promise<void> {
    if (this.#order.signal?.aborted || !isLost(failure.code)) throw failure;
    if (this.#idle === 0) this.#resume.received();
    if (++this.#idle > maxIdlePasses || this.#fruitless > maxFruitlessPasses) throw goOn(failure);
    // The controller waits for a machine by itself; for a controller that is gone it is waited here.
    if (failure.code === 'connection_reset') return;
    await this.#resume.after(failure).catch((error: unknown) => {
      throw goOn(RemoteError.from(error));
    });
  }

  #path(again: boolean): string {
    const { machine, remote, ignore, checksum, dryRun, verbose, connectWaitMs } = this.#order;
    const flags = {
      ignore,
      checksum,
      delete: this.#order.delete,
      dry_run: dryRun,
      verbose: (verbose ?? false) || dryRun,
    };
    const query = [
      `path_b64=${Buffer.from(remote).toString('base64url')}`,
      `connect_wait_ms=${again ? Math.max(resumeMs, connectWaitMs) : connectWaitMs}`,
      ...Object.entries(flags).map(([name, on]) => `${name}=${on ? 1 : 0}`),
    ];
    return `/v1/machines/${encodeURIComponent(machine)}/sync/${this.#verb}?${query.join('&')}`;
  }
}

function goOn(failure: RemoteError): RemoteError {
  const hint = 'what was done is done: the same command again goes on where it was';
  return new RemoteError(failure.code, failure.message, { ...failure.details, hint }, failure);
}
