import { type Answer, answerOf, briefAnswer, safeJson } from '@codex-remote/client';
import type { ExecView } from '@codex-remote/protocol/schema';
import type { Context } from '../../context.ts';
import { command } from '../../table/command.ts';
import { machineFlag, oneId, tailLines } from '../../table/shared.ts';
import { idOf } from './address.ts';
import { briefBytes } from './follow-to-end.ts';
import { answerText } from './render.ts';

/** Raw bytes asked for: enough for 2,000 bytes of text once escapes are out. */
export const defaultRawTailBytes = 8 * 1024;
const maxRawTailBytes = 1024 * 1024;

export const execResult = command({
  name: 'exec result',
  summary: 'Show how an exec stands, with the end of its output.',
  description:
    'Answers at once, also while its machine is away. Exits with 0 when there is an answer, whatever the job did.',
  flags: { id: oneId, machine: machineFlag, 'tail-lines': { ...tailLines, aliases: ['tail'] } },
  positional: 'id',
  examples: [
    ['status, exit code and tails', 'exec result --id ID'],
    ['the last 20 lines of each stream', 'exec result --id ID --tail-lines 20'],
  ],
  async run(values, context) {
    const id = idOf('exec result', values.id);
    const lines = values['tail-lines'];
    const rawBytes =
      lines === undefined
        ? defaultRawTailBytes
        : Math.min(maxRawTailBytes, Math.max(defaultRawTailBytes, lines * 256));
    const view = await viewWithLines(
      context,
      { id, machine: values.machine },
      lines,
      lines === 0 ? 0 : rawBytes,
    );
    const answer = shownAnswer(context, view, lines);
    return { value: answer, exit: 0, human: () => answerText(view, answer) };
  },
});

/** Asks again for more bytes where long lines left fewer than were wanted. */
async function viewWithLines(
  { client }: Context,
  address: { id: string; machine?: string | undefined },
  lines: number | undefined,
  rawBytes: number,
): Promise<ExecView> {
  const view = await client.exec(address, rawBytes);
  if (lines === undefined || rawBytes >= maxRawTailBytes) return view;
  const short = [view.stdout_tail, view.stderr_tail].some(
    (tail) => tail !== undefined && tail.from > 0 && linesIn(tail.base64) < lines,
  );
  return short ? client.exec(address, maxRawTailBytes) : view;
}

function linesIn(base64: string): number {
  return Buffer.from(base64, 'base64').toString('latin1').split('\n').length - 2;
}

/** The answer with tails as the mode and `--tail-lines` have them. */
export function shownAnswer({ output, clock }: Context, view: ExecView, lines: number | undefined): Answer {
  const now = clock.wall();
  if (lines === 0) return answerOf(view, { now, tails: 'none' });
  if (lines !== undefined) return answerOf(view, { now, tails: { lines } });
  if (output.mode === 'brief')
    return briefAnswer(view, now, briefBytes, (answer) => Buffer.byteLength(safeJson(answer)) + 1);
  return answerOf(view, { now, tails: 'default' });
}
