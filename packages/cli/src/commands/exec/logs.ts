import type { LogSelection } from '@codex-remote/protocol/schema';
import type { Context } from '../../context.ts';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { flagSwitch, one, type ValuesOf } from '../../table/flag.ts';
import { machineFlag, oneId } from '../../table/shared.ts';
import * as read from '../../table/values.ts';
import { idOf } from './address.ts';
import { decodeCursor } from './cursor.ts';
import { type LogsRequest, readLogs } from './read-logs.ts';

const defaultTailLines = 100;

const logsFlags = {
  id: oneId,
  machine: machineFlag,
  stream: one(read.oneOf(['stdout', 'stderr', 'both']), 'STREAM', 'stdout, stderr or both (default)'),
  'tail-lines': one(read.count, 'N', 'the last N lines per stream (default 100)', { aliases: ['tail'] }),
  'tail-bytes': one(read.bytes, 'N', 'the last N bytes per stream'),
  from: one(read.count, 'OFFSET', 'from this byte of the one stream on'),
  cursor: one(read.nonEmpty, 'C', 'go on where an earlier answer (next_cursor) ended'),
  since: one(read.time, 'TIME', 'lines written since: 10m ago, or RFC 3339'),
  until: one(read.time, 'TIME', 'lines written until'),
  grep: one(regex, 'REGEX', 'only lines that match; before the tail is taken'),
  follow: flagSwitch('go on until the exec has ended'),
  'max-bytes': one(read.bytes, 'N', 'stop after so many bytes of output'),
} as const;

type LogsValues = ValuesOf<typeof logsFlags>;

export const execLogs = command({
  name: 'exec logs',
  summary: "Show an exec's output: JSONL, exact bytes with their offsets.",
  description:
    'Without flags: both streams, the last 100 lines. Order of filters: time, --grep, tail. Long lines come in pieces of 4096 bytes (partial).',
  flags: logsFlags,
  positional: 'id',
  examples: [
    ['the last 2000 lines of stdout', 'exec logs --id ID --stream stdout --tail 2000'],
    ['errors of the last 10 minutes', 'exec logs --id ID --since 10m --grep error'],
  ],
  async run(values, context) {
    const id = idOf('exec logs', values.id);
    const request = logsRequest(id, values, context);
    return readLogs(context, request);
  },
});

function logsRequest(id: string, values: LogsValues, { clock }: Context): LogsRequest {
  const command = { name: 'exec logs' };
  const places = (['tail-lines', 'tail-bytes', 'from', 'cursor'] as const).filter(
    (name) => values[name] !== undefined,
  );
  if (places.length > 1) throw usage(command, `--${places[0]} and --${places[1]} exclude each other`);
  if (values.from !== undefined && (values.stream === undefined || values.stream === 'both'))
    throw usage(command, '--from is a place in one stream: add --stream stdout or --stream stderr');
  if (values['max-bytes'] === 0) throw usage(command, '--max-bytes 0 leaves nothing to show');
  const wantsAll =
    values.since !== undefined ||
    values.until !== undefined ||
    values.grep !== undefined ||
    values.follow === true;
  const tailLines = values['tail-lines'] ?? (places.length === 0 && !wantsAll ? defaultTailLines : undefined);
  const streams: LogSelection['streams'] =
    values.stream === 'stdout' || values.stream === 'stderr' ? [values.stream] : ['stdout', 'stderr'];
  const from =
    values.cursor !== undefined
      ? decodeCursor(values.cursor, id)
      : values.from === undefined
        ? undefined
        : { [streams[0] ?? 'stdout']: values.from };
  return {
    address: { id, machine: values.machine },
    streams,
    ...(from === undefined ? {} : { from }),
    ...(tailLines === undefined ? {} : { tailLines }),
    ...(values['tail-bytes'] === undefined ? {} : { tailBytes: values['tail-bytes'] }),
    ...(values.since === undefined ? {} : { sinceMs: values.since }),
    ...(values.until === undefined ? {} : { untilMs: values.until }),
    ...(values.grep === undefined ? {} : { grep: values.grep }),
    ...(values['max-bytes'] !== undefined ? { maxBytes: values['max-bytes'] } : {}),
    follow: values.follow === true,
    saysEnd: values.cursor !== undefined || values.follow === true,
    now: () => clock.wall(),
  };
}

/** A JavaScript regular expression; `(?i)` in front ignores case, as in most tools. */
function regex(text: string, { flag }: read.ValueContext): RegExp {
  const insensitive = text.startsWith('(?i)');
  try {
    return new RegExp(insensitive ? text.slice(4) : text, insensitive ? 'iu' : 'u');
  } catch (error) {
    throw usage(
      { name: 'exec logs' },
      `${flag} takes a regular expression: ${error instanceof Error ? error.message.slice(0, 120) : 'it cannot be read'}`,
    );
  }
}
