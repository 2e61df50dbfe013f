import { type Channel, RemoteError, type Session } from '@codex-remote/protocol/wire';
import type { MachineLink } from './link.ts';

/** Something that a machine sends by position, so that it can be asked for from anywhere on. */
export interface Positioned<Piece, End> {
  /** What it is called where it is cut or sends something else. */
  readonly name: string;
  /** Asks for it from the beginning, or from where the last whole record ended: what was half received comes again. */
  open(session: Session): Channel;
  /** What the bytes are. Throws `protocol_error` for what does not follow what came before: the session ends by it. */
  parse(bytes: Uint8Array): Piece;
  /** Passes it on; resolves when there is room for more, with the end where this was the last. */
  pass(piece: Piece): Promise<{ readonly end: End } | undefined>;
}

export interface ReadOptions {
  readonly link: MachineLink;
  /** How long the first connection is waited for. */
  readonly firstWaitMs: number;
  /** How long a lost connection is waited for before the reader is told. */
  readonly resumeWaitMs: number;
  readonly signal: AbortSignal;
}

/**
 * Reads to the end. A connection that breaks is resumed on the next one where it stopped: the reader sees neither gap nor
 * double. What a machine says is untrusted: what cannot be parsed ends its session. Throws `protocol_error` then,
 * `machine_offline` where it did not come back in time, and what the machine answered.
 */
export async function readResumed<Piece, End>(
  stream: Positioned<Piece, End>,
  { link, firstWaitMs, resumeWaitMs, signal }: ReadOptions,
): Promise<End> {
  let waitMs = firstWaitMs;
  for (;;) {
    const session = await link.session(waitMs, signal);
    // It may have ended while we were told of it; its link then waits for the next one.
    if (session.ended) {
      waitMs = link.patience(resumeWaitMs);
      continue;
    }
    const channel = stream.open(session);
    const withdraw = (): void => channel.reset(new RemoteError('cancelled', 'the reader went away'));
    signal.addEventListener('abort', withdraw);
    let broken = false;
    try {
      for (;;) {
        const item = await channel.receive();
        if (!item) throw new RemoteError('stream_cut', `${stream.name} ended without its last record`);
        broken = true;
        if (item.kind !== 'data') throw new RemoteError('protocol_error', `${stream.name} carries data only`);
        const piece = stream.parse(item.bytes);
        broken = false;
        const over = await stream.pass(piece);
        if (over) return over.end;
      }
    } catch (error) {
      const failure = RemoteError.from(error);
      channel.reset(failure);
      if (broken) session.end(failure);
      if (broken || signal.aborted || !session.ended) throw failure;
      waitMs = link.patience(resumeWaitMs);
    } finally {
      signal.removeEventListener('abort', withdraw);
    }
  }
}
