import {
  eventField,
  type OutputRecord,
  type OutputStream,
  oneLine,
  Resume,
  readExecView,
} from '@codex-remote/client';
import type { ExecView, LogSelection } from '@codex-remote/protocol/schema';
import { type ExecRecord, RemoteError, streamId } from '@codex-remote/protocol/wire';
import type { Context } from '../../context.ts';
import { exitCodes } from '../../exit.ts';
import type { Outcome } from '../../outcome.ts';
import { Detached, Watchdog } from '../../signals.ts';
import { encodeCursor } from './cursor.ts';
import { type LiveOutput, liveOutput } from './live-output.ts';
import { TailOfLines } from './tail-of-lines.ts';

export interface LogsRequest {
  readonly address: { id: string; machine: string | undefined };
  readonly streams: readonly OutputStream[];
  readonly from?: { stdout?: number; stderr?: number };
  readonly tailLines?: number;
  readonly tailBytes?: number;
  readonly sinceMs?: number;
  readonly untilMs?: number;
  readonly grep?: RegExp;
  readonly maxBytes?: number;
  readonly follow: boolean;
  /** A last record says where to go on, also where nothing was cut. */
  readonly saysEnd: boolean;
  readonly now: () => number;
}

interface LogsEnd {
  readonly complete: boolean;
  readonly view: ExecView;
}

/**
 * `exec logs`: what there is, then with `--follow` what comes, read on by position across controllers. The tail is taken
 * by the machine, but after `--grep` only we can.
 */
export async function readLogs(context: Context, request: LogsRequest): Promise<Outcome> {
  const { output } = context;
  const reader = new LogsReader(context, request);
  const watchdog = request.follow ? new Watchdog({ readerGone: output.readerGone }) : undefined;
  const signal = watchdog?.signal ?? output.readerGone;
  const { grep } = request;
  const only =
    grep === undefined
      ? undefined
      : (line: string | Uint8Array) =>
          grep.test(typeof line === 'string' ? line : Buffer.from(line).toString('utf8'));
  const tail =
    grep !== undefined && request.tailLines !== undefined ? new TailOfLines(request.tailLines) : undefined;
  const options = { now: request.now, ...(only === undefined ? {} : { only }) };
  const past: LiveOutput = tail === undefined ? liveOutput(output, options) : tail.of(output, options);
  let live = past;
  try {
    let end = await reader.past(signal, past);
    const followed = request.follow && !reader.cutByLimit && goesOn(end);
    if (tail !== undefined) {
      await past.end(!isOver(end.view) && !followed);
      live = liveOutput(output, options);
    }
    if (followed) end = await reader.follow(signal, live);
    await live.end(!isOver(end.view) || !end.complete);
    return ended(context, request, reader, end);
  } catch (error) {
    if (!output.readerGone.aborted) await live.end(true);
    if (error instanceof Detached) return detached(context, reader);
    throw error;
  } finally {
    watchdog?.close();
  }
}

/** There is more to come, or there was more by the time the end was known. */
function goesOn({ complete, view }: LogsEnd): boolean {
  return !isOver(view) || (!complete && view.machine_connected);
}

function isOver({ state }: ExecView): boolean {
  return state.status === 'finished' || state.status === 'lost';
}

async function ended(
  { output }: Context,
  request: LogsRequest,
  reader: LogsReader,
  { complete, view }: LogsEnd,
): Promise<Outcome> {
  const away = !view.machine_connected;
  const says = request.saysEnd || !complete || away;
  const value = {
    type: 'end',
    exec_id: view.state.exec_id,
    machine: view.machine,
    status: view.state.status,
    ...(away ? { machine_connected: false, as_of: view.as_of } : {}),
    next_cursor: reader.cursor(view.state.exec_id),
    complete,
  };
  const as_of = `${view.machine} is away; this is what was known at ${view.as_of ?? 'its last report'}`;
  const cut = away
    ? `${as_of}${complete ? '' : ', not all of it'}`
    : complete
      ? ''
      : `there is more; next: codex-remote exec logs --id ${view.state.exec_id} --cursor ${value.next_cursor}`;
  const raw = output.mode === 'raw';
  // The bytes have no place for it, and nobody may take a part for all.
  if (raw && !complete) output.note(`codex-remote: ${oneLine(cut)}`);
  return {
    ...(says && !raw ? { value } : {}),
    exit: raw && !complete && !reader.cutByLimit ? exitCodes.failed : 0,
    human: () => oneLine(cut),
  };
}

function detached(_context: Context, reader: LogsReader): Outcome {
  const id = reader.execId;
  const next_cursor = reader.cursor(id);
  const next_command = `codex-remote exec logs --id ${id} --follow --cursor ${next_cursor}`;
  return {
    value: {
      type: 'detached',
      ok: true,
      exec_id: id,
      next_action: 'wait',
      next_command,
      detached_by: 'signal',
      next_cursor,
    },
    exit: exitCodes.unfinished,
    human: () => `next: ${next_command}`,
  };
}

/** Reads both streams by position and knows how far it has come. */
class LogsReader {
  readonly #context: Context;
  readonly #request: LogsRequest;
  /** Where reading goes on, for streams that something is known of. */
  readonly #next: { stdout?: number; stderr?: number };
  #view: ExecView | undefined;
  #bytes = 0;

  constructor(context: Context, request: LogsRequest) {
    this.#context = context;
    this.#request = request;
    this.#next = { ...request.from };
  }

  get execId(): string {
    return this.#view?.state.exec_id ?? this.#request.address.id;
  }

  get cutByLimit(): boolean {
    const { maxBytes, grep } = this.#request;
    return grep === undefined && maxBytes !== undefined && this.#bytes >= maxBytes;
  }

  cursor(id: string): string {
    return encodeCursor({ stdout: this.#next.stdout ?? 0, stderr: this.#next.stderr ?? 0 }, id);
  }

  /** What is there now. A cut before anything was shown, or in a read by position, is not seen by the caller. */
  async past(signal: AbortSignal, into: LiveOutput): Promise<LogsEnd> {
    const { tailLines, tailBytes, grep, maxBytes } = this.#request;
    const byMachine =
      grep === undefined
        ? {
            ...(tailLines === undefined ? {} : { tail_lines: tailLines }),
            ...(tailBytes === undefined ? {} : { tail_bytes: tailBytes }),
          }
        : {};
    const byPosition = Object.keys(byMachine).length === 0;
    const resume = new Resume(this.#context.clock, signal);
    for (;;) {
      const received = this.#bytes;
      try {
        const left =
          maxBytes === undefined || grep !== undefined ? {} : { max_bytes: maxBytes - this.#bytes };
        const end = await this.#read(
          this.#selection({ ...byMachine, ...left, follow: false }, byPosition),
          signal,
          into,
          resume,
        );
        this.#settle(end.view);
        return end;
      } catch (error) {
        if (!byPosition && this.#bytes > received) throw error;
        await resume.after(error);
      }
    }
  }

  /** What comes from now on, to the end of the exec. */
  async follow(signal: AbortSignal, into: LiveOutput): Promise<LogsEnd> {
    const { maxBytes, grep } = this.#request;
    const resume = new Resume(this.#context.clock, signal);
    for (;;) {
      try {
        const left =
          maxBytes === undefined || grep !== undefined
            ? {}
            : { max_bytes: Math.max(1, maxBytes - this.#bytes) };
        return await this.#read(this.#selection({ ...left, follow: true }, true), signal, into, resume);
      } catch (error) {
        await resume.after(error);
      }
    }
  }

  #selection(
    more: Pick<LogSelection, 'follow' | 'tail_lines' | 'tail_bytes' | 'max_bytes'>,
    byPosition: boolean,
  ): LogSelection {
    const { streams, sinceMs, untilMs } = this.#request;
    const from: { stdout?: number; stderr?: number } = {};
    for (const stream of streams) if (this.#next[stream] !== undefined) from[stream] = this.#next[stream];
    return {
      streams: [...streams],
      ...(byPosition && Object.keys(from).length > 0 ? { from } : {}),
      ...(sinceMs === undefined ? {} : { since_ms: sinceMs }),
      ...(untilMs === undefined ? {} : { until_ms: untilMs }),
      ...more,
    };
  }

  async #read(select: LogSelection, signal: AbortSignal, into: LiveOutput, resume: Resume): Promise<LogsEnd> {
    for await (const record of this.#context.client.logs(this.#request.address, select, { signal })) {
      if (lengthOf(record) > 0) resume.received();
      else resume.wentOn();
      if (record.kind === 'event') {
        const end = this.#endOf(record);
        if (end !== undefined) return end;
        continue;
      }
      this.#place(record);
      const busy = into.push(record);
      if (busy !== undefined) await busy;
    }
    throw new RemoteError('stream_cut', 'the logs ended without their last record');
  }

  #endOf(record: Extract<ExecRecord, { kind: 'event' }>): LogsEnd | undefined {
    const failure = eventField(record.value, 'error');
    if (failure !== undefined) throw RemoteError.fromWire(failure);
    const end = eventField(record.value, 'end');
    if (end === undefined) return undefined;
    this.#view = readExecView(eventField(end, 'view'));
    return { complete: eventField(end, 'complete') === true, view: this.#view };
  }

  #place(record: OutputRecord): void {
    if (record.kind === 'time') return;
    const stream = record.stream === streamId.stderr ? 'stderr' : 'stdout';
    const length = lengthOf(record);
    this.#next[stream] = record.offset + length;
    if (record.kind === 'data') this.#bytes += length;
  }

  /** A tail of nothing leaves off at the end that the stream had. */
  #settle({ state }: ExecView): void {
    const { tailLines, tailBytes, sinceMs } = this.#request;
    if ((tailLines === undefined && tailBytes === undefined) || sinceMs !== undefined) return;
    this.#next.stdout ??= state.stdout_bytes;
    this.#next.stderr ??= state.stderr_bytes;
  }
}

/** Bytes of a stream that a record stands for. */
function lengthOf(record: ExecRecord): number {
  if (record.kind === 'data') return record.bytes.byteLength;
  return record.kind === 'gap' ? record.missing : 0;
}
