import { constants, lstatSync, type Stats } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

/** Where jobs written for codex-runner say what they made, in their working directory. */
const listPath = '.codex/artifacts.json';
const maxListBytes = 1024 * 1024;
const maxEntries = 1_000;

/** A clock of a file system can be behind that of the machine by so much. */
const clockSlackMs = 2_000;

export interface RunnerEntry {
  /** As it is written there: absolute, or from the working directory. */
  readonly path: string;
  readonly name?: string | undefined;
  readonly type?: string | undefined;
}

/** What the list says, and why that is not all. */
export interface RunnerList {
  readonly entries: readonly RunnerEntry[];
  readonly error?: string;
}

const entry = z.object({
  path: z.string().min(1),
  name: z.unknown().optional(),
  type: z.unknown().optional(),
});
const list = z.looseObject({ artifacts: z.array(z.unknown()) });

/**
 * Whether there is a list in `cwd` that is of this exec: one that was written since `sinceMs`, epoch milliseconds. Any,
 * where that is undefined.
 */
export async function hasRunnerList(cwd: string, sinceMs: number | undefined): Promise<boolean> {
  try {
    return isOf(await lstat(join(cwd, listPath)), sinceMs);
  } catch {
    return false;
  }
}

/** The same where a look does not wait for anybody. */
export function hasRunnerListHere(cwd: string, sinceMs: number | undefined): boolean {
  try {
    const stat = lstatSync(join(cwd, listPath), { throwIfNoEntry: false });
    return stat !== undefined && isOf(stat, sinceMs);
  } catch {
    return false;
  }
}

function isOf(stat: Stats, sinceMs: number | undefined): boolean {
  return stat.isFile() && (sinceMs === undefined || stat.ctimeMs >= sinceMs - clockSlackMs);
}

/** Undefined where there is none by now. */
export async function readRunnerList(cwd: string): Promise<RunnerList | undefined> {
  const text = await textOf(join(cwd, listPath));
  if (text === undefined) return undefined;
  if (text.byteLength > maxListBytes) return none(`${listPath} is over ${maxListBytes} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(text.toString());
  } catch {
    return none(`${listPath} is not valid JSON`);
  }
  const parsed = list.safeParse(value);
  if (!parsed.success) return none(`${listPath} has no list artifacts`);
  // Entries may be of any shape there: those that name no file are passed over.
  const entries = parsed.data.artifacts.flatMap((one) => {
    const { data } = entry.safeParse(typeof one === 'string' ? { path: one } : one);
    return data
      ? [{ path: data.path, ...shortText('name', data.name, 200), ...shortText('type', data.type, 64) }]
      : [];
  });
  return entries.length > maxEntries
    ? {
        entries: entries.slice(0, maxEntries),
        error: `of ${listPath} only the first ${maxEntries} entries are taken`,
      }
    : { entries };
}

function none(error: string): RunnerList {
  return { entries: [], error };
}

function shortText<K extends string>(key: K, value: unknown, max: number): { [F in K]?: string } {
  return typeof value === 'string' && value !== ''
    ? ({ [key]: value.slice(0, max) } as { [F in K]: string })
    : {};
}

/** One byte more than is taken, of a regular file. */
async function textOf(path: string): Promise<Buffer | undefined> {
  try {
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
    const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      if (!(await file.stat()).isFile()) return undefined;
      const buffer = Buffer.alloc(maxListBytes + 1);
      let at = 0;
      for (let read = 1; read > 0 && at < buffer.byteLength; at += read)
        read = (await file.read(buffer, at, buffer.byteLength - at, at)).bytesRead;
      return buffer.subarray(0, at);
    } finally {
      await file.close();
    }
  } catch {
    return undefined;
  }
}
