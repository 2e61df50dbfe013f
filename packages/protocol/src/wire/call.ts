import type { Channel } from './channel.ts';
import { RemoteError } from './errors.ts';
import type { Session } from './session.ts';

export interface CallOptions {
  /** Withdraws the request: the channel is reset with `cancelled`, and so the call fails. */
  signal?: AbortSignal;
  /** Sent as DATA before our END. The iterator is closed on every path. */
  body?: AsyncIterable<Uint8Array>;
}

/**
 * One request, one reply. Throws the peer's error, `stream_cut` when the peer ended without a reply, `cancelled`, what
 * `body` throws, or why the session ended; the last with `sent`: `no` or `unknown`.
 */
export async function call(
  session: Session,
  verb: string,
  params: unknown,
  options: CallOptions = {},
): Promise<unknown> {
  const { signal, body } = options;
  if (signal?.aborted) throw cancelled(verb);
  const channel = session.open(verb, params);
  const onAbort = (): void => channel.reset(cancelled(verb));
  signal?.addEventListener('abort', onAbort, { once: true });
  const sending = sendBody(channel, body);
  try {
    const reply = await receiveReply(channel, verb);
    void watchRest(channel);
    return reply;
  } catch (error) {
    const failure = RemoteError.from(error);
    channel.reset(failure);
    // A body that failed is the cause, and the reset only its consequence.
    const cause = (await sending) ?? failure;
    throw session.ended === cause ? cause.with({ sent: channel.opened ? 'unknown' : 'no' }) : cause;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

/** Gives the body's own error, if that is what went wrong; then the channel is reset. */
async function sendBody(
  channel: Channel,
  body: AsyncIterable<Uint8Array> | undefined,
): Promise<RemoteError | undefined> {
  if (!body) {
    channel.end();
    return undefined;
  }
  let writing = false;
  try {
    for await (const bytes of body) {
      writing = true;
      await channel.write(bytes);
      writing = false;
    }
    channel.end();
    return undefined;
  } catch (error) {
    // The channel is over already, and its reader says why.
    if (writing) return undefined;
    const failure = RemoteError.from(error);
    channel.reset(failure);
    return failure;
  }
}

async function receiveReply(channel: Channel, verb: string): Promise<unknown> {
  const item = await channel.receive();
  if (item === undefined) throw new RemoteError('stream_cut', `${verb} ended without a reply`);
  if (item.kind === 'data')
    throw new RemoteError('protocol_error', `${verb} was answered with DATA instead of a MESSAGE`);
  return item.value;
}

/** After the reply comes END. A peer that goes on talks to nobody; one that wants no more of the body has reset. */
async function watchRest(channel: Channel): Promise<void> {
  try {
    const more = await channel.receive();
    channel.reset(
      more === undefined
        ? new RemoteError('cancelled', 'the reply is complete')
        : new RemoteError('protocol_error', 'a reply is one MESSAGE'),
    );
  } catch {
    // The session ended or the peer reset: the reply is there, nothing is owed.
  }
}

function cancelled(verb: string): RemoteError {
  return new RemoteError('cancelled', `${verb} was withdrawn by its caller`);
}
