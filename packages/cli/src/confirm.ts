import { readSync } from 'node:fs';
import type { Context } from './context.ts';
import { usage } from './table/bind.ts';

/** Asks at a terminal; elsewhere a missing `--yes` is wrong usage that names it. Throws `usage` when the answer is no. */
export async function confirm(
  { output }: Context,
  command: string,
  question: string,
  yes: boolean,
): Promise<void> {
  if (yes) return;
  if (!output.terminal || output.mode !== 'human')
    throw usage({ name: command }, `${question.replace(/\?$/, '')}: this needs --yes`);
  await output.text(`${question} [y/N] `, 'stderr');
  const typed = Buffer.alloc(64);
  const length = readSync(0, typed);
  if (!/^y(es)?\s*$/i.test(typed.toString('utf8', 0, length)))
    throw usage({ name: command }, 'nothing was done');
}
