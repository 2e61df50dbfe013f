import {
  type Answer,
  answerOf,
  briefAnswer,
  type FollowEvent,
  type Follower,
  oneLine,
  safeJson,
} from '@codex-remote/client';
import type { ExecView } from '@codex-remote/protocol/schema';
import type { Context } from '../../context.ts';
import { exitCodes, exitOfExec } from '../../exit.ts';
import type { Outcome } from '../../outcome.ts';
import { Detached, Watchdog } from '../../signals.ts';
import { encodeCursor } from './cursor.ts';
import { liveOutput } from './live-output.ts';
import { oneLineOf } from './render.ts';
import { withWarnings } from './worktree.ts';

/** The last line of `--brief` is at most this long, its newline included. */
export const briefBytes = 6000;

export interface FollowToEnd {
  /** What was asked for: the id, or a prefix of it, and the machine where it is known. */
  readonly id: string;
  readonly machine: string | undefined;
  readonly follower: (signal: AbortSignal) => Follower;
  readonly events: (follower: Follower) => AsyncGenerator<FollowEvent, void, void>;
  readonly maxWaitMs: number | undefined;
  /** Ctrl-C at a terminal cancels the exec. */
  readonly cancels: boolean;
  /** Records say which exec they belong to. */
  readonly tagged?: boolean;
  /** Of what came before the start; told with it, and at the end. */
  readonly warnings?: readonly string[];
  /** Its caller has seen enough; the exec goes on. */
  readonly withdrawn?: AbortSignal;
}

/** `exec run` and `exec watch`: `started`, output, and always a last line. */
export async function followToEnd(
  context: Context,
  wanted: FollowToEnd,
): Promise<Outcome & { view: ExecView | undefined }> {
  const { output } = context;
  const cancelling = new Cancelling(context, wanted);
  const watchdog = new Watchdog({
    maxWaitMs: wanted.maxWaitMs,
    readerGone: wanted.withdrawn ? AbortSignal.any([output.readerGone, wanted.withdrawn]) : output.readerGone,
    interrupted: wanted.cancels && output.terminal ? () => cancelling.interrupted() : undefined,
  });
  const follower = wanted.follower(watchdog.signal);
  const now = () => context.clock.wall();
  let live = liveOutput(output, { now });
  let view: ExecView | undefined;
  try {
    for await (const event of wanted.events(follower)) {
      if (event.kind === 'output') {
        const busy = live.push(event.record);
        if (busy !== undefined) await busy;
      } else if (event.kind === 'started') {
        view = event.reply.view;
        if (wanted.tagged) live = liveOutput(output, { now, execId: view.state.exec_id });
        await sayStarted(context, view, event.reply.attached, wanted.warnings);
        cancelling.started(view);
        context.client.connection.replaceOlder().catch(() => {});
      } else view = event.view;
    }
    await live.end(false);
    return { ...finished(context, view, wanted.warnings), view };
  } catch (error) {
    if (error instanceof Detached) {
      await live.end(true);
      return { ...detached(context, wanted, error, follower, view), view };
    }
    // What was received is shown before what went wrong; a reader that has gone takes neither.
    if (!output.readerGone.aborted) await live.end(true);
    throw error;
  } finally {
    watchdog.close();
  }
}

async function sayStarted(
  { output, clock }: Context,
  view: ExecView,
  attached: boolean,
  warnings: readonly string[] = [],
): Promise<void> {
  const { exec_id } = view.state;
  if (output.mode === 'json') {
    const answer = answerOf(view, { now: clock.wall(), tails: 'none' });
    await output.line({
      type: 'started',
      ...answer,
      ...withWarnings(answer.warnings, warnings),
      ...(attached ? { attached: true } : {}),
    });
  } else if (output.terminal && output.mode === 'human') {
    output.note(
      view.state.status === 'queued'
        ? oneLineOf(view)
        : oneLine(`${attached ? 'attached to' : 'started'} ${exec_id} on ${view.machine}`),
    );
    for (const warning of warnings) output.note(oneLine(warning));
  }
}

function finished(
  { output, clock }: Context,
  view: ExecView | undefined,
  warnings: readonly string[] = [],
): Outcome {
  if (view === undefined) throw new Error('a follower ended without the last view');
  const now = clock.wall();
  const lastLine = (answer: Answer) => ({
    type: 'finished',
    ...answer,
    ...withWarnings(answer.warnings, warnings),
  });
  const lineBytes = (answer: Answer) => Buffer.byteLength(safeJson(lastLine(answer))) + 1;
  const answer =
    output.mode === 'brief'
      ? briefAnswer(view, now, briefBytes, lineBytes)
      : answerOf(view, { now, tails: 'none' });
  return { value: lastLine(answer), exit: exitOfExec(view), human: () => oneLineOf(view) };
}

function detached(
  { clock }: Context,
  wanted: FollowToEnd,
  why: Detached,
  { positions }: Follower,
  view: ExecView | undefined,
): Outcome {
  const id = view?.state.exec_id ?? wanted.id;
  const cursor = encodeCursor(positions, id);
  const next_command =
    view === undefined
      ? `codex-remote exec result --id ${id}`
      : `codex-remote exec watch --id ${id} --cursor ${cursor}`;
  const known =
    view === undefined
      ? { ok: true, machine: wanted.machine, exec_id: id, exit_code: null, sent: 'unknown' }
      : answerOf(view, { now: clock.wall(), tails: 'none' });
  const value = {
    type: 'detached',
    ...known,
    next_action: 'wait',
    next_command,
    detached_by: why.why,
    stdout_offset: positions.stdout,
    stderr_offset: positions.stderr,
    next_cursor: cursor,
  };
  return { value, exit: exitCodes.unfinished, human: () => oneLine(`${id} goes on; ${next_command}`) };
}

/** Ctrl-C: the first cancels the exec, a second one stops watching while the cancel goes on. */
class Cancelling {
  readonly #context: Context;
  readonly #wanted: FollowToEnd;
  #view: ExecView | undefined;
  #asked = false;

  constructor(context: Context, wanted: FollowToEnd) {
    this.#context = context;
    this.#wanted = wanted;
  }

  interrupted(): boolean {
    if (this.#asked) return false;
    this.#asked = true;
    this.#context.output.note(oneLine(`cancelling ${this.#wanted.id}; Ctrl-C again stops watching`));
    if (this.#view !== undefined) this.#cancel(this.#view);
    return true;
  }

  started(view: ExecView): void {
    this.#view = view;
    if (this.#asked) this.#cancel(view);
  }

  #cancel({ state, machine }: ExecView): void {
    this.#context.client
      .cancelExec({ id: state.exec_id, machine }, { signal: 'INT', grace_ms: 10_000 }, 15_000)
      .catch((error: unknown) => {
        this.#context.output.note(
          `codex-remote: the cancel failed: ${oneLine(error instanceof Error ? error.message : String(error))}`,
        );
      });
  }
}
