import { constants, createReadStream, rmSync, type Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { RemoteError } from '@codex-remote/protocol/wire';

/** What of a file there can be in the way of one that comes. */
export type InTheWay = 'exists' | 'blocked';

/** A file that is to be at `path`, below the folder. */
export interface Wanted {
  /** One or more names with slashes between them, as bytes: `.` and `..` and empty ones were refused before. */
  readonly path: Buffer;
  readonly size: number;
  readonly sha256: string;
}

const slash = Buffer.from('/');

/** Loaded when a file comes: it takes 6 ms of a command without any. */
const crypto = () => process.getBuiltinModule('node:crypto');
const disk = () => process.getBuiltinModule('node:fs/promises');

/**
 * A folder of this host into which files come. Each comes under another name and takes its own when it is whole. No link in
 * the folder is followed. Its owner calls `discard` on every way out; it may be called at any time. Methods throw `usage`
 * that names what could not be written, or `disk_low`.
 */
export class Destination {
  readonly root: Buffer;
  readonly #half = new Set<string>();

  private constructor(root: Buffer) {
    this.root = root;
  }

  /** Makes the folder where it is not there. */
  static async open(path: string): Promise<Destination> {
    return told(path, async () => {
      await disk().mkdir(path, { recursive: true });
      return new Destination(await disk().realpath(path, { encoding: 'buffer' }));
    });
  }

  /** `same`: the file is there already. `blocked`: a link or another thing than a folder is on its way, or a folder in its place. */
  async look(wanted: Wanted): Promise<'same' | InTheWay | undefined> {
    const parts = partsOf(wanted.path);
    for (let length = 1; length < parts.length; length++) {
      const stat = await statOf(this.#at(parts.slice(0, length)));
      if (!stat) return undefined;
      if (!stat.isDirectory()) return 'blocked';
    }
    const there = await statOf(this.#at(parts));
    if (!there) return undefined;
    if (there.isDirectory()) return 'blocked';
    const same =
      there.isFile() && there.size === wanted.size && (await hashOf(this.#at(parts))) === wanted.sha256;
    return same ? 'same' : 'exists';
  }

  /** A file to be written, in the folder that it is for; missing folders are made. Undefined where one cannot be. */
  async begin(wanted: Wanted): Promise<Coming | undefined> {
    return told(shown(wanted.path), async () => {
      const parts = partsOf(wanted.path);
      for (let length = 1; length < parts.length; length++)
        if (!(await isFolder(this.#at(parts.slice(0, length))))) return undefined;
      const half = Buffer.concat([
        this.#at(parts.slice(0, -1)),
        Buffer.from(`/.cr-${crypto().randomBytes(9).toString('hex')}`),
      ]);
      const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
      const file = await disk().open(half, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
      this.#half.add(half.toString('latin1'));
      return new Coming({ file, half, path: this.#at(parts), wanted }, () =>
        this.#half.delete(half.toString('latin1')),
      );
    });
  }

  /** What is not whole is gone. */
  discard(): void {
    for (const half of this.#half) rmSync(Buffer.from(half, 'latin1'), { force: true });
    this.#half.clear();
  }

  #at(parts: readonly Buffer[]): Buffer {
    return Buffer.concat([this.root, ...parts.flatMap((part) => [slash, part])]);
  }
}

interface ComingFile {
  readonly file: FileHandle;
  readonly half: Buffer;
  readonly path: Buffer;
  readonly wanted: Wanted;
}

/** A file on its way in. Its owner ends it with `drop`. What is not what was wanted is `file_changed`, and is not placed. */
export class Coming {
  readonly #coming: ComingFile;
  readonly #over: () => void;
  readonly #hash = crypto().createHash('sha256');
  #bytes = 0;

  constructor(coming: ComingFile, over: () => void) {
    this.#coming = coming;
    this.#over = over;
  }

  async write(bytes: Uint8Array): Promise<void> {
    const { file, wanted } = this.#coming;
    this.#hash.update(bytes);
    this.#bytes += bytes.byteLength;
    if (this.#bytes > wanted.size) throw this.#other();
    await told(shown(wanted.path), async () => {
      for (let at = 0; at < bytes.byteLength; ) at += (await file.write(bytes, at)).bytesWritten;
    });
  }

  /** Under its name, on disk, with `mode` less what our umask takes. Another file of that name stays without `force`. */
  async place(mode: number, force: boolean): Promise<InTheWay | undefined> {
    const { file, half, path, wanted } = this.#coming;
    if (this.#bytes !== wanted.size || this.#hash.digest('hex') !== wanted.sha256) throw this.#other();
    return told(shown(wanted.path), async () => {
      await file.chmod(mode & 0o777 & ~process.umask());
      await file.sync();
      await file.close();
      const inTheWay = force ? await replace(half, path) : await add(half, path);
      if (inTheWay) await disk().rm(half, { force: true });
      this.#over();
      return inTheWay;
    });
  }

  #other(): RemoteError {
    return new RemoteError(
      'file_changed',
      `${shown(this.#coming.wanted.path)} came with another content than its list says`,
      { hint: 'the copy on the machine was damaged; what has come is as it says' },
    );
  }

  async drop(): Promise<void> {
    await this.#coming.file.close().catch(() => undefined);
    await disk()
      .rm(this.#coming.half, { force: true })
      .catch(() => undefined);
    this.#over();
  }
}

/** A link itself is replaced, never what it leads to. */
async function replace(half: Buffer, path: Buffer): Promise<InTheWay | undefined> {
  if ((await statOf(path))?.isDirectory()) return 'blocked';
  await disk().rename(half, path);
  return undefined;
}

async function add(half: Buffer, path: Buffer): Promise<InTheWay | undefined> {
  try {
    await disk().link(half, path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EEXIST') return 'exists';
    if (errno !== 'EPERM' && errno !== 'ENOTSUP' && errno !== 'EOPNOTSUPP') throw error;
    // A file system without hard links: between the look and the rename somebody could put one there.
    if (await statOf(path)) return 'exists';
    await disk().rename(half, path);
    return undefined;
  }
  await disk().rm(half, { force: true });
  return undefined;
}

/** There, or made. False where something else is. */
async function isFolder(path: Buffer): Promise<boolean> {
  await disk()
    .mkdir(path)
    .catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw error;
    });
  return (await statOf(path))?.isDirectory() === true;
}

function partsOf(path: Buffer): Buffer[] {
  return path
    .toString('latin1')
    .split('/')
    .map((part) => Buffer.from(part, 'latin1'));
}

/** Of the name itself. */
async function statOf(path: Buffer): Promise<Stats | undefined> {
  return disk()
    .lstat(path)
    .catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    });
}

async function hashOf(path: Buffer): Promise<string> {
  const hash = crypto().createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece);
  return hash.digest('hex');
}

function shown(path: Buffer): string {
  return path.toString().slice(0, 300);
}

function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

async function told<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const failure = RemoteError.from(error);
    if (failure.code !== 'internal') throw failure;
    throw new RemoteError(
      'usage',
      `--dst: ${path} cannot be written (${errnoOf(error) ?? failure.message})`,
      { sent: 'no' },
      error,
    );
  }
}
