import { Follower } from '@codex-remote/client';
import type { ExecView } from '@codex-remote/protocol/schema';
import type { Context } from '../../context.ts';
import { exitOfMany } from '../../exit.ts';
import type { Outcome } from '../../outcome.ts';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { flagSwitch, one } from '../../table/flag.ts';
import { machineFlag, manyIds, maxWait } from '../../table/shared.ts';
import * as read from '../../table/values.ts';
import { idsOf } from './address.ts';
import { decodeCursor } from './cursor.ts';
import { followToEnd } from './follow-to-end.ts';

export const anyFlag = flagSwitch('until one of them has ended');
export const allFlag = flagSwitch('until all of them have ended (default)');

export const execWatch = command({
  name: 'exec watch',
  summary: "Show an exec's output and its end.",
  description:
    "From the beginning, or from --cursor on. Exits with the command's own code; never cancels it.",
  flags: {
    id: manyIds,
    machine: machineFlag,
    cursor: one(read.nonEmpty, 'C', 'go on where an earlier answer (next_cursor) ended'),
    any: anyFlag,
    all: allFlag,
    'max-wait': maxWait,
  },
  positional: 'id',
  examples: [
    ['follow to the end', 'exec watch --id ID'],
    ['for at most 50 s', 'exec watch --id ID --max-wait 50s'],
  ],
  async run(values, context) {
    const ids = idsOf('exec watch', values.id);
    if (values.any && values.all) throw usage({ name: 'exec watch' }, '--any and --all exclude each other');
    if (ids.length > 1 && values.cursor !== undefined)
      throw usage({ name: 'exec watch' }, '--cursor is for one exec');
    const enough = new AbortController();
    const watch = (id: string, tagged: boolean) =>
      followToEnd(context, {
        id,
        machine: values.machine,
        follower: (signal) =>
          new Follower(context.client, {
            clock: context.clock,
            signal,
            ...(values.cursor === undefined ? {} : { from: decodeCursor(values.cursor, id) }),
          }),
        events: (follower) => follower.watch({ id, machine: values.machine }),
        maxWaitMs: values['max-wait'],
        cancels: false,
        tagged,
        withdrawn: enough.signal,
      });
    const [only] = ids;
    return ids.length === 1 && only !== undefined
      ? watch(only, false)
      : watchMany(
          context,
          ids.map((id) => watch(id, true)),
          values.any ? 'any' : 'all',
          () => enough.abort(new Error('another one has ended')),
        );
  },
});

/**
 * Each exec's last line comes as it ends; the status is that of all, or of the first. `enough` ends what still watches,
 * so that the last line of the first is the last of all.
 */
async function watchMany(
  { output }: Context,
  watches: Promise<Outcome & { view: ExecView | undefined }>[],
  mode: 'all' | 'any',
  enough: () => void,
): Promise<Outcome> {
  if (mode === 'any') {
    const first = Promise.race(watches).finally(enough);
    await Promise.allSettled([first, ...watches]);
    return first;
  }
  const said = watches.map(async (watch) => {
    const outcome = await watch;
    if (output.mode !== 'human' && output.mode !== 'raw' && outcome.value !== undefined)
      await output.line(outcome.value);
    return outcome;
  });
  const outcomes = await Promise.all(said).catch(async (error: unknown) => {
    enough();
    await Promise.allSettled(said);
    throw error;
  });
  const views = outcomes.flatMap(({ view }) => (view === undefined ? [] : [view]));
  return { exit: exitOfMany(views, 'all'), human: () => outcomes.map(({ human }) => human()).join('\n') };
}
