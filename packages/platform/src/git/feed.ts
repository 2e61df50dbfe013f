import type { Writable } from 'node:stream';

/** What git reads, in pieces. */
export type GitInput = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/**
 * Writes `input` to `stdin` at the pace of who reads there, and ends it. Returns early where nobody reads any more: the
 * input is left. Throws what the input throws.
 */
export async function feed(input: GitInput, stdin: Writable): Promise<void> {
  let gone = false;
  let leave: () => void = () => undefined;
  const left = (): void => {
    gone = true;
    leave();
  };
  stdin.once('error', left).once('close', left);
  // Not a race with one promise for all pieces: that would keep them all until it is settled.
  const orGone = <T>(work: Promise<T> | T): Promise<T | undefined> =>
    new Promise((resolve, reject) => {
      leave = () => resolve(undefined);
      if (gone) leave();
      Promise.resolve(work).then(resolve, reject);
    });
  const pieces = Symbol.asyncIterator in input ? input[Symbol.asyncIterator]() : input[Symbol.iterator]();
  for (;;) {
    const next = await orGone(pieces.next());
    if (!next) void Promise.resolve(pieces.return?.()).catch(() => undefined);
    if (!next || next.done) break;
    if (!stdin.write(next.value)) await orGone(drained(stdin));
  }
  stdin.end();
}

function drained(stdin: Writable): Promise<void> {
  return new Promise((resolve) => stdin.once('drain', resolve));
}
