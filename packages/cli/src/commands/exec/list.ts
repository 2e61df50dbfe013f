import { cutText, safeJson } from '@codex-remote/client';
import type { ExecView } from '@codex-remote/protocol/schema';
import type { Context } from '../../context.ts';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { many, one } from '../../table/flag.ts';
import { machineFlag } from '../../table/shared.ts';
import * as read from '../../table/values.ts';
import { shownDuration, table } from './render.ts';

/** Rows that the controller gives at once. */
const maxLimit = 10_000;
/** A row of JSON is at most this long. */
const rowBytes = 250;
const statuses = ['queued', 'running', 'finished', 'lost'] as const;

export const execList = command({
  name: 'exec list',
  summary: 'List execs, newest first: what runs, and what ended in 24 hours.',
  flags: {
    machine: machineFlag,
    status: many(read.someOf(statuses), 'STATUS', `only ${statuses.join(', ')}; commas between several`),
    label: one(read.text, 'TEXT', 'only with this label'),
    session: one(read.nonEmpty, 'current|ID', 'only of this session'),
    since: one(read.time, 'TIME', 'only started since: 10m ago, or RFC 3339'),
    until: one(read.time, 'TIME', 'only started until'),
    limit: one(read.count, 'N', 'at most so many (default 20)'),
  },
  examples: [
    ['everything that runs', 'exec list --status running'],
    ['what this session started', 'exec list --session current'],
  ],
  async run(values, context) {
    const { limit } = values;
    if (limit !== undefined && (limit < 1 || limit > maxLimit))
      throw usage({ name: 'exec list' }, `--limit takes a number from 1 to ${maxLimit}`);
    const list = await context.client.execs({
      machine: values.machine,
      status: values.status?.flat(),
      label: values.label,
      session: values.session === 'current' ? currentSession(context) : values.session,
      since_ms: values.since,
      until_ms: values.until,
      limit,
    });
    const rows = list.execs.map(row);
    return {
      value: { ok: true, execs: rows, total: list.total, more: list.more },
      exit: 0,
      human: () => listText(list.execs, list.more),
    };
  },
});

function currentSession({ env }: Context): string {
  const session = env.CODEX_REMOTE_SESSION || env.CODEX_THREAD_ID || env.CLAUDE_CODE_SESSION_ID;
  if (!session)
    throw usage(
      { name: 'exec list' },
      'there is no current session: CODEX_REMOTE_SESSION, CODEX_THREAD_ID and CLAUDE_CODE_SESSION_ID are not set',
    );
  return session;
}

/** What does not fit is cut from the command, then from the label and the session. */
function row({ machine, as_of, state }: ExecView) {
  const fields = {
    exec_id: state.exec_id,
    machine,
    status: state.status,
    exit_code: state.status === 'finished' ? state.exit_code : null,
    ...(state.label === undefined ? {} : { label: state.label }),
    ...(state.session === undefined ? {} : { session: state.session }),
    command: state.command,
    ...(state.started_at === undefined ? {} : { started_at: state.started_at }),
    ...(state.status === 'finished' ? { duration_ms: Math.round(state.duration_ms) } : {}),
    ...(as_of === undefined ? {} : { as_of }),
  };
  for (const [name, floor] of [
    ['command', 24],
    ['label', 16],
    ['session', 16],
    ['command', 4],
    ['label', 4],
    ['session', 4],
  ] as const) {
    for (let over = tooLong(fields); over > 0; over = tooLong(fields)) {
      const text = fields[name];
      const bytes = text === undefined ? 0 : Buffer.byteLength(text);
      if (text === undefined || bytes <= floor) break;
      fields[name] = cutText(text, Math.max(floor, bytes - over - 3));
    }
  }
  return fields;
}

function tooLong(fields: object): number {
  return Buffer.byteLength(safeJson(fields)) - rowBytes;
}

function listText(execs: readonly ExecView[], more: boolean): string {
  if (execs.length === 0) return 'no execs';
  const rows = execs.map(({ machine, state }) => [
    state.exec_id,
    machine,
    state.status === 'finished' ? `exit ${state.exit_code}` : state.status,
    state.status === 'finished' ? shownDuration(state.duration_ms) : '',
    cutText(state.label ?? '', 16),
    cutText(state.command, 60),
  ]);
  return `${table(['ID', 'MACHINE', 'STATUS', 'TOOK', 'LABEL', 'COMMAND'], rows)}${more ? '\nthere are more: --limit' : ''}`;
}
