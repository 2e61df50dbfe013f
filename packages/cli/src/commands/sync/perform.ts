import type { SyncClient, SyncSummary } from '@codex-remote/client/sync';
import { RemoteError } from '@codex-remote/protocol/wire';
import { confirm } from '../../confirm.ts';
import type { Context } from '../../context.ts';
import type { Outcome } from '../../outcome.ts';
import { Detached, Watchdog } from '../../signals.ts';
import { usage } from '../../table/bind.ts';
import { textOf } from '../exec/render.ts';
import type { Trees } from './flags.ts';
import { Listing, outcomeOf, type Told } from './outcome.ts';
import { ProgressLine } from './progress.ts';
import { watchTrees } from './watch.ts';

export interface SyncWishes {
  readonly yes: boolean;
  readonly watch: boolean;
}

/** Names that a question before a removal shows. */
const maxAsked = 10;

/** Makes the target what the source is: once, or for as long as it is watched. */
export async function performSync(trees: Trees, wishes: SyncWishes, context: Context): Promise<Outcome> {
  const name = `sync ${trees.direction}`;
  const { dryRun, delete: removes } = trees.order;
  if (wishes.watch && dryRun) throw usage({ name }, '--watch and --dry-run exclude each other');
  const asks = removes && !wishes.yes && !dryRun;
  // Said before anything is looked at where nobody can be asked.
  if (asks && !(context.output.terminal && context.output.mode === 'human'))
    throw usage({ name }, '--delete removes files: this needs --yes');
  const { SyncClient } = await import('./trees.ts');
  const client = new SyncClient(context.client.connection, context.clock);
  const watchdog = new Watchdog({ readerGone: context.output.readerGone });
  const run = new SyncRun(client, trees, context, watchdog.signal);
  try {
    if (asks) await askToRemove(run, name, context);
    if (wishes.watch) return await watchTrees(trees, run, context, watchdog.signal);
    return await run.once();
  } catch (error) {
    throw stopped(error, watchdog.signal);
  } finally {
    watchdog.close();
  }
}

/** Passes over the two trees of one command. */
export class SyncRun {
  readonly #client: SyncClient;
  readonly #trees: Trees;
  readonly #context: Context;
  readonly #signal: AbortSignal;

  constructor(client: SyncClient, trees: Trees, context: Context, signal: AbortSignal) {
    this.#client = client;
    this.#trees = trees;
    this.#context = context;
    this.#signal = signal;
  }

  async once(): Promise<Outcome & { readonly value: object }> {
    const listing = new Listing();
    const begin = this.#context.clock.monotonic();
    const summary = await this.pass(this.#trees.order.dryRun, (told) => listing.add(told));
    return outcomeOf(this.#trees, summary, listing, this.#context.clock.monotonic() - begin);
  }

  async pass(dryRun: boolean, report: (told: Told) => void): Promise<SyncSummary> {
    const { output, clock } = this.#context;
    const progress = new ProgressLine(output, () => clock.monotonic());
    const order = {
      ...this.#trees.order,
      dryRun,
      report,
      progress: progress.show.bind(progress),
      signal: this.#signal,
    };
    try {
      return await this.#client[this.#trees.direction](order);
    } finally {
      progress.clear();
    }
  }
}

/** Looks at what would go, and asks where something would. */
async function askToRemove(run: SyncRun, name: string, context: Context): Promise<void> {
  const removed: string[] = [];
  const { removed: count } = await run.pass(true, (told) => {
    if (told.do === 'remove' && removed.length < maxAsked) removed.push(told.path);
  });
  if (count === 0) return;
  const names = removed.map((path) => Buffer.from(path, 'latin1').toString()).join(', ');
  const more = count > removed.length ? ', ...' : '';
  await confirm(context, name, textOf(`remove ${count} (${names}${more})?`), false);
}

/** What a signal ended, as that; the reader that went away stays what it is. */
function stopped(error: unknown, signal: AbortSignal): unknown {
  if (!signal.aborted || !(signal.reason instanceof Detached)) return signal.aborted ? signal.reason : error;
  return new RemoteError(
    'cancelled',
    'the sync was stopped before its end',
    { hint: 'what was done is done: the same command again goes on where it was' },
    error,
  );
}
