import type { Readable } from 'node:stream';

/** How long a caller has to hear that nothing more of it is wanted. */
const drainMs = 5_000;

/** Takes what still comes until the caller has gone, or has sent all. */
export async function drained(body: Readable, gone: AbortSignal): Promise<void> {
  if (body.readableEnded || body.destroyed || gone.aborted) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, drainMs);
    const over = (): void => {
      clearTimeout(timer);
      resolve();
    };
    body.on('error', over);
    body.on('close', over);
    body.on('end', over);
    gone.addEventListener('abort', over, { once: true });
    body.resume();
  });
}
