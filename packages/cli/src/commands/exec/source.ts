import { closeSync, fstatSync, openSync, read } from 'node:fs';
import type { UploadSource } from '@codex-remote/client';
import { RemoteError } from '@codex-remote/protocol/wire';

const chunkBytes = 64 * 1024;
/** So much of our stdin is kept, so that a start whose answer was lost can be sent again under its id. */
const maxKeptBytes = 8 * 1024 * 1024;

/** A local file. It is opened at once, so that a name that is wrong is wrong usage and nothing is sent. */
export function fileSource(flag: string, path: string): UploadSource {
  const fd = open(flag, path);
  const regular = fstatSync(fd).isFile();
  let first: number | undefined = fd;
  return {
    again: regular,
    async *read() {
      const own = first ?? open(flag, path);
      first = undefined;
      try {
        yield* chunksOf(own, regular);
      } finally {
        closeSync(own);
      }
    },
  };
}

/** Our own stdin, read once; what was read is kept while it is small. */
export function stdinSource(): UploadSource {
  const kept: Uint8Array[] = [];
  let keptBytes = 0;
  let begun = false;
  let ended = false;
  return {
    get again() {
      return !begun || (ended && keptBytes <= maxKeptBytes);
    },
    async *read() {
      if (begun) {
        yield* kept;
        return;
      }
      begun = true;
      for await (const chunk of chunksOf(0, false)) {
        keptBytes += chunk.byteLength;
        if (keptBytes <= maxKeptBytes) kept.push(chunk);
        else kept.length = 0;
        yield chunk;
      }
      ended = true;
    },
  };
}

/** Positions are given for regular files, so that two readers of one file do not meet; pipes have none. */
async function* chunksOf(fd: number, positioned: boolean): AsyncGenerator<Uint8Array, void, void> {
  for (let position = 0; ; ) {
    const chunk = await readChunk(fd, positioned ? position : null);
    if (chunk.byteLength === 0) return;
    position += chunk.byteLength;
    yield chunk;
  }
}

function readChunk(fd: number, position: number | null): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const buffer = Buffer.allocUnsafeSlow(chunkBytes);
    const attempt = () => {
      read(fd, buffer, 0, chunkBytes, position, (error, count) => {
        // A stdin that someone else made non-blocking: look again in a moment.
        if (error?.code === 'EAGAIN') setTimeout(attempt, 10);
        else if (error)
          reject(
            new RemoteError(
              'usage',
              `what is to be sent cannot be read (${error.code})`,
              { sent: 'no' },
              error,
            ),
          );
        else resolve(buffer.subarray(0, count));
      });
    };
    attempt();
  });
}

function open(flag: string, path: string): number {
  try {
    const fd = openSync(path, 'r');
    if (!fstatSync(fd).isDirectory()) return fd;
    closeSync(fd);
    throw Object.assign(new Error(), { code: 'EISDIR' });
  } catch (error) {
    throw new RemoteError(
      'usage',
      `${flag}: ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`,
      { sent: 'no' },
      error,
    );
  }
}
