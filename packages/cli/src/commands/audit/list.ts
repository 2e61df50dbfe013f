import { cutText, oneLine } from '@codex-remote/client';
import type { AuditLine } from '@codex-remote/protocol/schema';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { one } from '../../table/flag.ts';
import * as read from '../../table/values.ts';
import { table } from '../exec/render.ts';

/** Rows that the controller gives at once. */
const maxLimit = 10_000;

export const auditList = command({
  name: 'audit list',
  summary: 'List who did what, newest first: starts, cancels, machines, keys, tokens, refusals.',
  description:
    'An exec has a line "requested" before it is sent, and one that says what followed. Values of --env are in none.',
  flags: {
    machine: one(read.machine, 'NAME', 'only of this machine', { char: 'm' }),
    verb: one(read.nonEmpty, 'VERB', 'only this: exec.start, or exec for all that begin so'),
    since: one(read.time, 'TIME', 'only since: 10m ago, or RFC 3339'),
    until: one(read.time, 'TIME', 'only until'),
    limit: one(read.count, 'N', 'at most so many (default 20)'),
  },
  examples: [
    ['what was done lately', 'audit list'],
    ['what was refused or started in an hour', 'audit list --verb exec.start --since 1h'],
  ],
  async run({ machine, verb, since, until, limit }, { client }) {
    if (limit !== undefined && (limit < 1 || limit > maxLimit))
      throw usage({ name: 'audit list' }, `--limit takes a number from 1 to ${maxLimit}`);
    const { entries, more } = await client.audit({ machine, verb, since_ms: since, until_ms: until, limit });
    return { value: { ok: true, entries, more }, exit: 0, human: () => listText(entries, more) };
  },
});

function listText(entries: readonly AuditLine[], more: boolean): string {
  if (entries.length === 0) return 'no entries';
  const rows = entries.map((entry) => [
    oneLine(entry.at),
    oneLine(entry.principal),
    oneLine(entry.source),
    oneLine(entry.verb),
    oneLine(entry.machine ?? ''),
    oneLine(entry.result),
    cutText(oneLine([entry.exec_id, entry.argv?.join(' '), entry.reason].filter(Boolean).join(' ')), 80),
  ]);
  const head = ['AT', 'WHO', 'FROM', 'VERB', 'MACHINE', 'RESULT', 'WHAT'];
  return `${table(head, rows)}${more ? '\nthere are more: --limit' : ''}`;
}
