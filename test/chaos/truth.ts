import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What a job itself wrote down, see job.sh. */
export interface Truth {
  readonly starts: readonly {
    readonly variant: string;
    readonly pid: number;
    readonly ticks: number;
    /** Seconds since the boot. */
    readonly at: number;
  }[];
  /** What it meant to exit with; absent when it did not come so far. */
  readonly exitCode?: number;
  readonly exitAt?: number;
  /** Everything that it wrote, or was about to write. */
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

export function parseTruth(notes: string, stdout: Uint8Array, stderr: Uint8Array): Truth {
  const starts: { variant: string; pid: number; ticks: number; at: number }[] = [];
  // Two ends would be two runs: the starts say so already.
  let exit: { exitCode: number; exitAt: number } | undefined;
  for (const line of notes.split('\n').filter(Boolean)) {
    const [word, at, ...rest] = line.split(' ');
    if (word === 'start' && rest.length === 3)
      starts.push({ variant: String(rest[0]), pid: Number(rest[1]), ticks: Number(rest[2]), at: Number(at) });
    else if (word === 'exit' && rest.length === 1) exit = { exitCode: Number(rest[0]), exitAt: Number(at) };
    else throw new Error(`a job wrote a note that cannot be read: ${line}`);
  }
  return { starts, stdout, stderr, ...exit };
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
