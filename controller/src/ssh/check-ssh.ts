import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import type { HostTransport } from './transport.ts';
import { answersWithin } from './tunnel.ts';

export interface SshCheck {
  readonly ssh_ok: boolean;
  readonly error?: RemoteError;
  readonly ms: number;
}

/** How long a connection that exists may take to answer before a fresh one is tried. */
const answerMs = 3_000;

/**
 * Whether the machine can be reached by SSH now: one round trip on a connection that exists (`live`, not owned), else a
 * login that is ended again. Never rejects.
 */
export async function checkSsh(context: {
  readonly clock: Clock;
  readonly live?: HostTransport;
  readonly connect: () => Promise<HostTransport>;
}): Promise<SshCheck> {
  const { clock, live } = context;
  const start = clock.monotonic();
  if (live !== undefined && (await answersWithin(live, clock, answerMs)))
    return { ssh_ok: true, ms: clock.monotonic() - start };
  try {
    const transport = await context.connect();
    const ms = clock.monotonic() - start;
    // The answer is known; ending politely may take its time.
    void transport.close();
    return { ssh_ok: true, ms };
  } catch (error) {
    return { ssh_ok: false, error: RemoteError.from(error), ms: clock.monotonic() - start };
  }
}
