import type { Operation } from './history.ts';

export type Status = 'queued' | 'running' | 'finished' | 'lost';
export type Stream = 'stdout' | 'stderr';

/** What a client said about one exec. It was true at some moment between the two times. */
export interface Answer {
  readonly operation: Operation;
  readonly execId: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly status: Status;
  readonly exitCode: number | null;
  readonly reason?: string;
  readonly pid?: number;
  /** The machine was away: the answer says itself how old it is. */
  readonly asOfMs?: number;
  readonly bytes?: Readonly<Record<Stream, number>>;
  readonly attached: boolean;
  readonly cancelRequested: boolean;
  readonly safeToRetry?: boolean;
  readonly leftoverPids: readonly number[];
}

export interface Refusal {
  readonly operation: Operation;
  readonly code: string;
  readonly message: string;
  readonly sent?: string;
  /** Machines that could not be asked. */
  readonly away: readonly string[];
}

/** Bytes of one stream as a reader got them. */
export interface Reading {
  readonly operation: Operation;
  readonly stream: Stream;
  readonly pieces: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
  /** A record said that some are gone. */
  readonly gaps: boolean;
  /** The reader was told that this is everything: what there was then, or with a follower what there ever will be. */
  readonly whole: boolean;
}

/** Everything that one client printed. */
export interface Printed {
  readonly answers: readonly Answer[];
  readonly readings: readonly Reading[];
  readonly refusal?: Refusal;
  /** `type` of the last line of a stream. */
  readonly lastType?: string;
  /** What could not be read of it. */
  readonly unreadable?: string;
}

const rawKinds: ReadonlySet<Operation['kind']> = new Set(['follow_raw', 'last_read']);
const followKinds: ReadonlySet<Operation['kind']> = new Set(['run', 'watch', 'follow']);

/** Reads what a client printed. Pure. */
export function readPrinted(operation: Operation, printed: Uint8Array): Printed {
  if (rawKinds.has(operation.kind)) return readRaw(operation, printed);
  const text = Buffer.from(printed).toString('utf8');
  const lines = text.split('\n');
  // A client that was killed may have left off in the middle of a line.
  const rest = lines.pop() ?? '';
  const values: Record<string, unknown>[] = [];
  for (const line of lines) {
    try {
      values.push(JSON.parse(line) as Record<string, unknown>);
    } catch {
      return { answers: [], readings: [], unreadable: `no JSON: ${line.slice(0, 200)}` };
    }
  }
  if (rest !== '' && !operation.killed)
    return { answers: [], readings: [], unreadable: `the last line has no end: ${rest.slice(0, 200)}` };
  const last = values.at(-1);
  const error = last?.error as Record<string, unknown> | undefined;
  const type = typeof last?.type === 'string' ? last.type : undefined;
  return {
    answers: values.flatMap((value) => answersIn(operation, value)),
    readings: readingsIn(operation, values),
    ...(error !== undefined && { refusal: refusalOf(operation, error) }),
    ...(type !== undefined && { lastType: type }),
  };
}

const goneLines = /codex-remote: (\d+) bytes of \w+ from offset (\d+) on are gone\n/g;
const failureLine = /codex-remote: ([^\n]*)\n$/;

/**
 * Raw bytes say nothing of themselves: the exit status does, and lines of ours on stderr. Where the log itself goes to stderr,
 * the line of what is gone stands in its place, and that of a failure right behind the last byte.
 */
function readRaw(operation: Operation, bytes: Uint8Array): Printed {
  const { stream, status, killed, interrupted } = operation;
  if (stream === undefined) throw new Error(`operation ${operation.n} reads no stream`);
  const fine = status === 0 || killed || interrupted;
  const said = stream === 'stderr' ? Buffer.from(bytes).toString('latin1') : operation.stderr;
  const [behind = '', message = ''] = (fine ? undefined : failureLine.exec(said)) ?? [];
  const pieces: { offset: number; bytes: Uint8Array }[] = [];
  let offset = 0;
  let at = 0;
  const take = (end: number): void => {
    pieces.push({ offset, bytes: bytes.subarray(at, end) });
    offset += end - at;
    at = end;
  };
  const gone = [...said.matchAll(goneLines)];
  for (const line of gone) {
    const [missing, from] = [Number(line[1]), Number(line[2])];
    take(stream === 'stderr' ? line.index : at + Math.max(0, from - offset));
    if (stream === 'stderr') at += line[0].length;
    offset = from + missing;
  }
  take(bytes.byteLength - (stream === 'stderr' ? behind.length : 0));
  const refusal = { operation, code: codeIn(message), message, away: [] };
  const reading = { operation, stream, pieces, gaps: gone.length > 0, whole: status === 0 };
  return { answers: [], readings: [reading], ...(!fine && { refusal }) };
}

const wordsOf: readonly (readonly [string, RegExp])[] = [
  ['exec_not_found', /exec_id not found/],
  ['machine_offline', /machine offline| is away; /],
  ['connection_reset', /connection reset by peer/],
  ['controller_unreachable', /controller (?:does not|is not|could not)/],
];

function codeIn(stderr: string): string {
  return wordsOf.find(([, words]) => words.test(stderr))?.[0] ?? 'unknown';
}

function refusalOf(operation: Operation, error: Record<string, unknown>): Refusal {
  return {
    operation,
    code: String(error.code),
    message: String(error.message),
    ...(typeof error.sent === 'string' && { sent: error.sent }),
    away: Array.isArray(error.away) ? error.away.map(String) : [],
  };
}

/** The answers in one line: its own, or the rows of a list. */
function answersIn(operation: Operation, value: Record<string, unknown>): Answer[] {
  if (Array.isArray(value.execs))
    return value.execs.flatMap((row) => answersIn(operation, row as Record<string, unknown>));
  if (typeof value.exec_id !== 'string' || typeof value.status !== 'string' || value.type === 'end')
    return [];
  const toMs = value.type === 'started' ? (operation.firstOutputMs ?? operation.endedMs) : operation.endedMs;
  return [
    {
      operation,
      execId: value.exec_id,
      fromMs: operation.beganMs,
      toMs,
      status: value.status as Status,
      exitCode: typeof value.exit_code === 'number' ? value.exit_code : null,
      ...(typeof value.reason === 'string' && { reason: value.reason }),
      ...(typeof value.pid === 'number' && { pid: value.pid }),
      ...(typeof value.as_of === 'string' && { asOfMs: Date.parse(value.as_of) }),
      ...(typeof value.stdout_bytes === 'number' && {
        bytes: { stdout: value.stdout_bytes, stderr: Number(value.stderr_bytes) },
      }),
      attached: value.attached === true,
      cancelRequested: value.cancel_requested === true,
      ...(typeof value.safe_to_retry === 'boolean' && { safeToRetry: value.safe_to_retry }),
      leftoverPids: Array.isArray(value.leftover_pids) ? value.leftover_pids.map(Number) : [],
    },
  ];
}

function readingsIn(operation: Operation, values: readonly Record<string, unknown>[]): Reading[] {
  const streams: readonly Stream[] = followKinds.has(operation.kind)
    ? ['stdout', 'stderr']
    : operation.kind === 'read_json' && operation.stream
      ? [operation.stream]
      : [];
  const last = values.at(-1);
  const whole =
    last?.type === 'finished' ||
    (last?.type === 'end'
      ? last.complete === true
      : operation.kind === 'read_json' && operation.status === 0);
  return streams.map((stream) => {
    const own = values.filter((value) => value.stream === stream);
    return {
      operation,
      stream,
      pieces: own.filter(({ type }) => type === 'log').map(pieceOf),
      gaps: own.some(({ type }) => type === 'gap'),
      whole:
        whole && (operation.kind === 'read_json' || last?.status === 'finished' || last?.status === 'lost'),
    };
  });
}

/** The bytes of a log record: the newline that ended the line is not in it, but in its offsets. */
function pieceOf(value: Record<string, unknown>): { offset: number; bytes: Uint8Array } {
  const [offset, next] = [Number(value.offset), Number(value.next_offset)];
  const line =
    typeof value.line_b64 === 'string'
      ? Buffer.from(value.line_b64, 'base64')
      : Buffer.from(String(value.line), 'utf8');
  const bytes = next - offset === line.byteLength + 1 ? Buffer.concat([line, newline]) : line;
  // Any other length is wrong: it meets what comes next with a hole or a double.
  return { offset, bytes };
}

const newline = Buffer.from('\n');
