import { failpoint } from '@codex-remote/platform';
import {
  type ExecReport,
  type ExecState,
  isEnded,
  reportsFromController,
  reportTailBytes,
} from '@codex-remote/protocol/schema';
import { type Channel, type Clock, RemoteError, type Timer } from '@codex-remote/protocol/wire';
import type { ExecStore } from '../store/store.ts';
import { parseOrRefuse } from './parse.ts';

/** Payload of one page: a report with both tails fits several times, and a page fits a frame. */
const pageBytes = 40 * 1024;

/** A change that is not an end waits so long for company: a short exec is over by then and is reported once. */
const companyMs = 20;

/**
 * `exec.reports`: every exec that runs or is not acknowledged, then each change as it happens, until the channel is over.
 * The controller's acknowledgements are kept in the execs' folders. Nothing is lost between the two: changes are collected
 * from before the snapshot on, and a slow controller gets the newest state of each exec, not every state.
 */
export async function serveReports(channel: Channel, store: ExecStore, clock: Clock): Promise<void> {
  const changes = new Changes(store, clock);
  const acks = takeAcks(channel, store);
  // A session that ends while the snapshot is sent ends this too, before anybody looks at it.
  acks.catch(() => undefined);
  try {
    await sendPages(channel, store, store.unacknowledgedIds());
    await channel.send({ snapshot_done: true });
    void channel.closed.then(() => changes.close());
    // The controller's END or RESET is the end of the channel.
    void acks.then(
      () => changes.close(),
      () => changes.close(),
    );
    for (let ids = await changes.next(); ids; ids = await changes.next())
      await sendPages(channel, store, ids);
    await acks;
    channel.end();
  } finally {
    changes.close();
  }
}

async function takeAcks(channel: Channel, store: ExecStore): Promise<void> {
  for await (const item of channel) {
    if (item.kind !== 'message') throw new RemoteError('protocol_error', 'exec.reports takes no DATA');
    store.acknowledge(parseOrRefuse(reportsFromController, item.value, 'exec.reports').ack);
  }
}

async function sendPages(channel: Channel, store: ExecStore, ids: readonly string[]): Promise<void> {
  let page: ExecReport[] = [];
  let bytes = 0;
  for (const id of ids) {
    const report = reportOf(store, id);
    if (!report) continue;
    const size = sizeOf(report);
    if (page.length > 0 && bytes + size > pageBytes) {
      await sendPage(channel, page);
      page = [];
      bytes = 0;
    }
    page.push(report);
    bytes += size;
  }
  if (page.length > 0) await sendPage(channel, page);
}

async function sendPage(channel: Channel, reports: ExecReport[]): Promise<void> {
  if (failpoint('agent.report.before')) return;
  await channel.send({ reports });
  failpoint('agent.report.after');
}

/** Tails only once they are final. Undefined when the exec was removed meanwhile, or cannot be read now. */
function reportOf(store: ExecStore, id: string): ExecReport | undefined {
  try {
    const state = store.get(id);
    return isEnded(state) ? store.report(id, reportTailBytes) : { state };
  } catch (error) {
    if (error instanceof RemoteError && silent.has(error.code)) return undefined;
    throw error;
  }
}

/** The next snapshot tells of those that can be read again. */
const silent: ReadonlySet<string> = new Set(['exec_not_found', 'state_unusable', 'fds_exhausted']);

function sizeOf(report: ExecReport): number {
  const tails = (report.stdout_tail?.bytes.byteLength ?? 0) + (report.stderr_tail?.bytes.byteLength ?? 0);
  return tails + Buffer.byteLength(JSON.stringify(report.state)) + 256;
}

/** Ids of execs that have changed and were not yet taken, in the order of their first change. */
class Changes {
  readonly #stop: () => void;
  #ids = new Set<string>();
  /** What has changed is to go out now. */
  #due = false;
  #company: Timer | undefined;
  #wake: (() => void) | undefined;
  #closed = false;

  constructor(store: ExecStore, clock: Clock) {
    this.#stop = store.onChange((state: ExecState) => {
      this.#ids.add(state.exec_id);
      if (isEnded(state)) this.#call();
      else this.#company ??= clock.setTimer(companyMs, () => this.#call());
    });
  }

  /** Waits for changes; undefined when closed. */
  async next(): Promise<string[] | undefined> {
    while (!this.#due && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#closed) return undefined;
    this.#due = false;
    const ids = [...this.#ids];
    this.#ids.clear();
    return ids;
  }

  close(): void {
    this.#closed = true;
    this.#stop();
    this.#company?.cancel();
    this.#wake?.();
  }

  #call(): void {
    this.#company?.cancel();
    this.#company = undefined;
    this.#due = true;
    this.#wake?.();
  }
}
