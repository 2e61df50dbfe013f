import { hash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { failpoint, syncDir } from '@codex-remote/platform';
import {
  type ArtifactFile,
  type ArtifactsState,
  artifactFile,
  artifactsState,
  maxListedArtifactBytes,
  maxListedArtifacts,
} from '@codex-remote/protocol/schema';
import { z } from 'zod';
import { parseStored } from '../folder/stored.ts';

/**
 * The folder `artifacts` of an exec, all of it 0600: there as a whole or not at all.
 *
 *   list     lines of JSON: an ArtifactFile each, last `{end}`, the rest of the state
 *   HASH     what is kept of the file whose path has this SHA-256: no name of a job becomes one of ours
 *
 * While it is made it is `artifacts-RANDOM`.
 */
const folderName = 'artifacts';
const listName = 'list';

/** Side by side they share commits of the file system's journal. */
const syncsAtOnce = 16;

type Summary = Omit<ArtifactsState, 'files'>;

const listLine = z.union([z.object({ end: artifactsState.omit({ files: true }) }), artifactFile]);

/** Where the copy of an artifact is, or will be. `path`: as its bytes. */
export function keptPath(folder: string, path: Uint8Array): string {
  return join(folder, hash('sha256', path, 'hex'));
}

export function artifactsFolder(execFolder: string): string {
  return join(execFolder, folderName);
}

/** What is kept of an exec, in the making. Its owner ends it with `finish` or `drop`. */
export class KeptArtifacts {
  readonly folder: string;
  readonly #execFolder: string;
  readonly #list: FileHandle;
  readonly #listed = new Listed();
  readonly #copies: string[] = [];

  private constructor(execFolder: string, folder: string, list: FileHandle) {
    this.#execFolder = execFolder;
    this.folder = folder;
    this.#list = list;
  }

  /** Removes what an agent left that died while it made one. Throws what the system said. */
  static async begin(execFolder: string): Promise<KeptArtifacts> {
    for (const name of await readdir(execFolder))
      if (name.startsWith(`${folderName}-`))
        await rm(join(execFolder, name), { recursive: true, force: true });
    const folder = join(execFolder, `${folderName}-${randomBytes(9).toString('hex')}`);
    await mkdir(folder, { mode: 0o700 });
    return new KeptArtifacts(execFolder, folder, await open(join(folder, listName), 'wx', 0o600));
  }

  get count(): number {
    return this.#listed.count;
  }

  get bytes(): number {
    return this.#listed.bytes;
  }

  /** `copy`: at `keptPath`. Throws what the system said. */
  async add(file: ArtifactFile, copy: string): Promise<void> {
    await this.#list.appendFile(`${JSON.stringify(file)}\n`);
    this.#listed.add(file);
    this.#copies.push(copy);
  }

  /**
   * In place when it resolves, with what is said beside the files, and on disk, unless there is no time for that: what a loss of
   * power takes then has another SHA-256 than it should. Throws what the system said.
   */
  async finish(rest: Omit<Summary, 'count' | 'bytes'>, signal: AbortSignal): Promise<ArtifactsState> {
    const end: Summary = { count: this.count, bytes: this.bytes, ...rest };
    for (let at = 0; at < this.#copies.length && !signal.aborted; at += syncsAtOnce)
      await Promise.all(this.#copies.slice(at, at + syncsAtOnce).map(syncFile));
    await this.#list.appendFile(`${JSON.stringify({ end })}\n`);
    await this.#list.datasync();
    await this.#list.close();
    await syncDir(this.folder);
    failpoint('agent.artifacts.before');
    await rename(this.folder, artifactsFolder(this.#execFolder));
    failpoint('agent.artifacts.after');
    await syncDir(this.#execFolder);
    return { files: this.#listed.files, ...end };
  }

  /** Never throws: what cannot be removed goes with the exec. */
  async drop(): Promise<void> {
    await this.#list.close().catch(() => undefined);
    await rm(this.folder, { recursive: true, force: true }).catch(() => undefined);
  }
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** The first of them, as many as a state has room for; `count` and `bytes` are of all. */
class Listed {
  readonly files: ArtifactFile[] = [];
  count = 0;
  bytes = 0;
  #listBytes = 0;

  add(file: ArtifactFile): void {
    this.count += 1;
    this.bytes += file.size;
    this.#listBytes += Buffer.byteLength(JSON.stringify(file)) + 1;
    if (this.count <= maxListedArtifacts && this.#listBytes <= maxListedArtifactBytes) this.files.push(file);
  }
}

/** What an earlier agent put together, as it would have told it; undefined where that was not brought to its end. */
export async function keptState(execFolder: string): Promise<ArtifactsState | undefined> {
  const listed = new Listed();
  let end: Summary | undefined;
  try {
    for await (const line of linesOf(execFolder)) {
      if ('end' in line) end = line.end;
      else listed.add(line);
    }
  } catch {
    return undefined;
  }
  return end && { files: listed.files, ...end };
}

/** Every file that is kept, in the order of the list. Throws what the system said: ENOENT where nothing is kept. */
export async function* keptFiles(execFolder: string): AsyncGenerator<ArtifactFile, void, void> {
  for await (const line of linesOf(execFolder)) if (!('end' in line)) yield line;
}

async function* linesOf(execFolder: string): AsyncGenerator<z.infer<typeof listLine>, void, void> {
  const input = createReadStream(join(artifactsFolder(execFolder), listName));
  // readline hides what goes wrong with its input.
  const failed = new Promise<never>((_resolve, reject) => input.once('error', reject));
  failed.catch(() => undefined);
  await Promise.race([new Promise((resolve) => input.once('open', resolve)), failed]);
  for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    const line = parseStored(listLine, text);
    if (line) yield line;
  }
}
