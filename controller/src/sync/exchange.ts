import { type AgentVerb, type SyncParams, syncEnd } from '@codex-remote/protocol/schema';
import {
  type Channel,
  RecordParser,
  RemoteError,
  recordHeaderBytes,
  type Session,
} from '@codex-remote/protocol/wire';
import { FrameFiller } from './frame-filler.ts';

/** The other half of a conversation: a caller of ours. */
export interface SyncCaller {
  /** What it says. */
  readonly body: AsyncIterator<Uint8Array>;
  /** Whole data records; resolves when there is room for more. */
  write(records: Uint8Array): Promise<void>;
  readonly signal: AbortSignal;
}

export type SyncEnd = ReturnType<typeof syncEnd.parse>['end'];

/**
 * Carries a conversation between a caller and an agent; what they say to each other is theirs, and nothing of it is kept. It is
 * over with the agent's last record, which this gives. Throws `connection_reset` whatever ended the session, what the agent
 * said, `protocol_error` and `stream_cut`.
 */
export async function exchange(
  session: Session,
  verb: Extract<AgentVerb, `sync.${string}`>,
  params: SyncParams,
  caller: SyncCaller,
): Promise<SyncEnd> {
  const channel = session.open(verb, params);
  const withdraw = (): void => channel.reset(new RemoteError('cancelled', 'the caller went away'));
  caller.signal.addEventListener('abort', withdraw);
  if (caller.signal.aborted) withdraw();
  void sendUp(channel, caller.body);
  try {
    return await sendDown(channel, caller);
  } catch (error) {
    const failure = RemoteError.from(error);
    channel.reset(failure);
    if (!session.ended) throw failure;
    throw new RemoteError(
      'connection_reset',
      `connection reset by peer: ${session.ended.message}`,
      {},
      failure,
    );
  } finally {
    caller.signal.removeEventListener('abort', withdraw);
  }
}

/** Never rejects: what goes wrong resets the channel, and its reader gets it. */
async function sendUp(channel: Channel, body: AsyncIterator<Uint8Array>): Promise<void> {
  const frames = new FrameFiller(channel);
  try {
    for (let next = await body.next(); !next.done; next = await nextWhile(frames, body))
      await frames.write(next.value);
    await frames.flush();
    channel.end();
  } catch (error) {
    channel.reset(new RemoteError('cancelled', 'the caller went away before it was done', {}, error));
  }
}

/** The next piece. What fills no frame waits for it to the end of this turn, and no longer. */
async function nextWhile(
  frames: FrameFiller,
  body: AsyncIterator<Uint8Array>,
): Promise<IteratorResult<Uint8Array, unknown>> {
  let flushed: Promise<void> | undefined;
  const turn = setImmediate(() => {
    flushed = frames.flush();
    flushed.catch(() => undefined);
  });
  try {
    return await body.next();
  } finally {
    clearImmediate(turn);
    // Its back-pressure, and what ended the channel.
    await flushed;
  }
}

async function sendDown(channel: Channel, { write }: SyncCaller): Promise<SyncEnd> {
  let rest: Uint8Array = new Uint8Array(0);
  for (;;) {
    const item = await channel.receive();
    if (!item) throw new RemoteError('stream_cut', `${channel.verb} ended without its last record`);
    if (item.kind !== 'data') throw new RemoteError('protocol_error', `${channel.verb} carries data only`);
    const bytes = rest.byteLength === 0 ? item.bytes : Buffer.concat([rest, item.bytes]);
    const { whole, end } = wholeRecords(bytes);
    if (whole > 0) await write(bytes.subarray(0, whole));
    if (end) return end;
    rest = bytes.slice(whole);
  }
}

/** How many bytes are whole data records, and the end where it follows them. */
function wholeRecords(bytes: Uint8Array): { whole: number; end?: SyncEnd } {
  let whole = 0;
  for (const record of new RecordParser().push(bytes)) {
    if (record.kind === 'event') {
      const end = syncEnd.safeParse(record.value);
      if (end.success) return { whole, end: end.data.end };
    }
    if (record.kind !== 'data')
      throw new RemoteError('protocol_error', `a sync has no ${record.kind} records`);
    whole += recordHeaderBytes + record.bytes.byteLength;
  }
  return { whole };
}
