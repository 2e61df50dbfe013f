import type { Channel } from './channel.ts';
import { RemoteError } from './errors.ts';
import type { Session } from './session.ts';

export interface CallOptions {
  /** Withdraws the request: the channel is reset with `cancelled`, and so the call fails. */
  signal?: AbortSignal;
  /**
   * Sent as DATA before our END. When the call is over earlier, the iterator is closed at its next chunk; one that may
   * wait for ever is ended by its owner.
   */
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
  void sendBody(channel, body);
  try {
    const reply = await receiveReply(channel, verb);
    void watchRest(channel);
    return reply;
  } catch (error) {
    const failure = RemoteError.from(error);
    channel.reset(failure);
    throw session.ended === failure ? failure.with({ sent: channel.opened ? 'unknown' : 'no' }) : failure;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

/** Never rejects: what goes wrong resets the channel, and its reader gets it. */
async function sendBody(channel: Channel, body: AsyncIterable<Uint8Array> | undefined): Promise<void> {
  try {
    if (body) for await (const bytes of body) await channel.write(bytes);
    channel.end();
  } catch (error) {
    channel.reset(RemoteError.from(error));
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
