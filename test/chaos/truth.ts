import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What a job itself wrote down, see job.sh. */
export interface Truth {
  readonly starts: readonly { readonly variant: string; readonly pid: number; readonly ticks: number }[];
  /** What it meant to exit with; absent when it did not come so far. */
  readonly exitCode?: number;
  /** Everything that it wrote, or was about to write. */
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

export function parseTruth(notes: string, stdout: Uint8Array, stderr: Uint8Array): Truth {
  const starts: { variant: string; pid: number; ticks: number }[] = [];
  let exitCode: number | undefined;
  for (const line of notes.split('\n').filter(Boolean)) {
    const [word, ...rest] = line.split(' ');
    if (word === 'start' && rest.length === 3)
      starts.push({ variant: String(rest[0]), pid: Number(rest[1]), ticks: Number(rest[2]) });
    // Two ends would be two runs: the starts say so already.
    else if (word === 'exit' && rest.length === 1) exitCode = Number(rest[0]);
    else throw new Error(`a job wrote a note that cannot be read: ${line}`);
  }
  return { starts, stdout, stderr, ...(exitCode !== undefined && { exitCode }) };
}

/** A job that never ran has written nothing. */
export async function readTruth(folder: string, id: string): Promise<Truth> {
  const read = (name: string): Promise<Buffer> =>
    readFile(join(folder, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return Buffer.alloc(0);
      throw error;
    });
  const [notes, stdout, stderr] = await Promise.all([read(id), read(`${id}.stdout`), read(`${id}.stderr`)]);
  return parseTruth(notes.toString(), stdout, stderr);
}
