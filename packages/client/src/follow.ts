import type { ExecView, StartReply } from '@codex-remote/protocol/schema';
import { type Clock, type ExecRecord, RemoteError, streamId } from '@codex-remote/protocol/wire';
import type { ControllerClient, Positions, StartRequest } from './client.ts';
import { Resume } from './resume.ts';
import { canSendAgain, Sending, sentBefore } from './upload.ts';
import { eventField, readExecView, readStartReply } from './views.ts';

export type OutputRecord = Exclude<ExecRecord, { kind: 'event' }>;

/** What a follower gets: `started` once, output in order per stream and without a gap or a double, `finished` last. */
export type FollowEvent =
  | { kind: 'started'; reply: StartReply }
  | { kind: 'output'; record: OutputRecord }
  | { kind: 'finished'; view: ExecView };

export interface FollowOptions {
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** First offsets wanted. */
  readonly from?: Positions;
}

/**
 * Follows one exec to its end across controllers that come and go. `positions` is what has been given to the reader, at
 * any time. Throws `RemoteError` with the exec's id and what may have been sent.
 */
export class Follower {
  readonly positions: Positions;
  readonly #client: ControllerClient;
  readonly #options: FollowOptions;
  readonly #resume: Resume;
  #started: StartReply | undefined;
  /** A request went out whose answer was lost. */
  #mayBeSent = false;

  constructor(client: ControllerClient, options: FollowOptions) {
    this.#client = client;
    this.#options = options;
    this.#resume = new Resume(options.clock, options.signal);
    this.positions = { stdout: options.from?.stdout ?? 0, stderr: options.from?.stderr ?? 0 };
  }

  /**
   * Starts and follows. An answer that is lost is asked for again under the same id, which starts nothing twice: the
   * machine attaches. Where the request cannot be read again it is looked for by its id.
   */
  run(start: StartRequest): AsyncGenerator<FollowEvent, void, void> {
    const address = { id: start.spec.exec_id, machine: start.machine };
    const open = () =>
      this.#started !== undefined || (this.#mayBeSent && !canSendAgain(start))
        ? this.#watch(address)
        : this.#client.runExec(start, { signal: this.#options.signal });
    return this.#follow(address, open, new Sending(start));
  }

  watch(address: { id: string; machine?: string | undefined }): AsyncGenerator<FollowEvent, void, void> {
    return this.#follow(address, () => this.#watch(address));
  }

  #watch(address: { id: string; machine?: string | undefined }): AsyncGenerator<ExecRecord, void, void> {
    // A prefix was unique when it was first asked for; later only the id itself is.
    const exact =
      this.#started === undefined
        ? address
        : { id: this.#started.view.state.exec_id, machine: this.#started.view.machine };
    return this.#client.watchExec(exact, this.positions, {
      signal: this.#options.signal,
      mayStart: !this.#resume.stoppedOnPurpose,
    });
  }

  async *#follow(
    address: { id: string; machine?: string | undefined },
    open: () => AsyncGenerator<ExecRecord, void, void>,
    sending?: Sending,
  ): AsyncGenerator<FollowEvent, void, void> {
    for (;;) {
      try {
        for await (const record of open()) {
          const event = this.#take(record);
          if (isNews(event)) this.#resume.received();
          else this.#resume.wentOn();
          if (event !== undefined) yield event;
          if (event?.kind === 'finished') return;
        }
        throw new RemoteError('stream_cut', 'the stream ended without its last record');
      } catch (error) {
        if (!this.#mayBeSent && error instanceof RemoteError && error.details.sent === 'no')
          throw this.#located(error, address);
        const before = this.#mayBeSent && sending !== undefined;
        this.#mayBeSent = true;
        if (this.#started === undefined && sending?.again(error)) continue;
        try {
          await this.#resume.after(error);
        } catch (final) {
          throw this.#located(before ? sentBefore(final) : final, address);
        }
      }
    }
  }

  #take(record: ExecRecord): FollowEvent | undefined {
    if (record.kind !== 'event') return this.#output(record);
    const failure = eventField(record.value, 'error');
    if (failure !== undefined) throw RemoteError.fromWire(failure);
    const finished = eventField(record.value, 'finished');
    if (finished !== undefined) return { kind: 'finished', view: readExecView(finished) };
    const started = eventField(record.value, 'started');
    if (started === undefined || this.#started !== undefined) return undefined;
    this.#started = readStartReply(started);
    return { kind: 'started', reply: this.#started };
  }

  /** Drops what was already given; a hole that no gap record explains is shown as one. */
  #output(record: OutputRecord): FollowEvent | undefined {
    if (record.kind === 'time') return { kind: 'output', record };
    const name = record.stream === streamId.stderr ? 'stderr' : 'stdout';
    const at = this.positions[name];
    const length = record.kind === 'gap' ? record.missing : record.bytes.byteLength;
    const end = record.offset + length;
    if (end <= at) return undefined;
    this.positions[name] = end;
    if (record.offset > at)
      throw new RemoteError(
        'protocol_error',
        `bytes ${at} to ${record.offset} of ${name} are missing without a gap record`,
      );
    if (record.offset === at) return { kind: 'output', record };
    return {
      kind: 'output',
      record:
        record.kind === 'gap'
          ? { ...record, offset: at, missing: end - at }
          : { ...record, offset: at, bytes: record.bytes.subarray(at - record.offset) },
    };
  }

  /** An answer that refuses says itself whether the machine was reached; else it was refused before that. */
  #located(error: unknown, address: { id: string; machine?: string | undefined }): unknown {
    if (!(error instanceof RemoteError)) return error;
    const machine = this.#started?.view.machine ?? address.machine;
    const exec_id = this.#started?.view.state.exec_id ?? address.id;
    const lost = error.code === 'connection_reset' || error.code === 'stream_cut';
    // It was accepted: whatever a later request of ours says of itself is not about that.
    if (this.#started !== undefined)
      return new RemoteError(
        error.code,
        error.message,
        { machine, exec_id, ...error.details, sent: 'yes' },
        error,
      );
    const sent = lost ? 'unknown' : 'no';
    return error.with({ exec_id, sent, ...(machine === undefined ? {} : { machine }) });
  }
}

/** What was not known before: not the start of a stream that is read again, and not the time of bytes that were. */
function isNews(event: FollowEvent | undefined): boolean {
  return event !== undefined && (event.kind !== 'output' || event.record.kind !== 'time');
}
