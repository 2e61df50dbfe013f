import {
  closeSync,
  constants,
  fchmodSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';

/** `node:crypto` is loaded when a name is made: it takes 6 ms of a command that makes none. */
const randomBytes = (count: number): Buffer => process.getBuiltinModule('node:crypto').randomBytes(count);

const endings = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * A file of this host that is replaced by what comes from elsewhere, whole or not at all. Its owner ends it with `commit` or
 * `discard`; a signal that ends us discards it first. All throw `usage` naming the file, or `disk_low`.
 */
export class LocalFile {
  readonly path: string;
  readonly #temporary: string;
  readonly #fd: number;
  readonly #mode: number;
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.discard();
    process.kill(process.pid, signal);
  };
  #open = true;

  /**
   * As `scp` would: a folder gets the file under `name`, a link is followed, a file that is there keeps its mode, and a new
   * one gets `mode` less what our umask takes.
   */
  static create(dst: string, name: string, mode: number): LocalFile {
    return told(dst, () => {
      const path = statOf(dst)?.isDirectory() || dst.endsWith('/') ? join(dst, name) : dst;
      const there = statOf(path);
      if (there && !there.isFile())
        throw new RemoteError('usage', `--dst: ${path} is not a regular file`, { sent: 'no' });
      return new LocalFile(
        there ? realpathSync(path) : path,
        there ? there.mode & 0o7777 : mode & 0o777 & ~process.umask(),
      );
    });
  }

  private constructor(path: string, mode: number) {
    this.path = path;
    this.#mode = mode;
    this.#temporary = join(
      dirname(path),
      `.${basename(path).slice(0, 100)}.${randomBytes(8).toString('hex')}`,
    );
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    this.#fd = openSync(this.#temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    for (const signal of endings) process.once(signal, this.#onSignal);
  }

  write(bytes: Uint8Array): void {
    told(this.path, () => {
      for (let at = 0; at < bytes.byteLength; ) at += writeSync(this.#fd, bytes, at);
    });
  }

  commit(): void {
    told(this.path, () => {
      fchmodSync(this.#fd, this.#mode);
      fsyncSync(this.#fd);
      renameSync(this.#temporary, this.path);
    });
    this.#close();
  }

  /** What was there is as it was. After `commit` it does nothing. */
  discard(): void {
    if (!this.#open) return;
    this.#close();
    rmSync(this.#temporary, { force: true });
  }

  #close(): void {
    this.#open = false;
    closeSync(this.#fd);
    for (const signal of endings) process.off(signal, this.#onSignal);
  }
}

function statOf(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false });
}

function told<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const failure = RemoteError.from(error);
    if (failure.code !== 'internal') throw failure;
    const errno = error instanceof Error && 'code' in error ? String(error.code) : failure.message;
    throw new RemoteError('usage', `--dst: ${path} cannot be written (${errno})`, { sent: 'no' }, error);
  }
}
