import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, link, open, rename, rm } from 'node:fs/promises';
import { failpoint } from '@codex-remote/platform';
import type { FileWritten } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { errnoOf, fileError } from './file-error.ts';
import { makeFolders, syncFolder } from './folders.ts';
import { below, splitPath, textField } from './path.ts';
import { Turns } from './turns.ts';
import { WriteNotes } from './write-notes.ts';
import {
  type Conditions,
  checkContent,
  checkRoom,
  exists,
  findTarget,
  type WriteTarget,
} from './write-target.ts';

export interface WriteOrder extends Conditions {
  readonly path: Buffer;
  /** Of this write, however often it is sent. */
  readonly write_id: string;
  readonly size?: number | undefined;
  readonly mode?: number | undefined;
  readonly parents: boolean;
  readonly umask: number;
}

/** The content as it comes, and what its sender says of the whole of it. Throws what broke it off. */
export interface WriteBody {
  pieces(): AsyncIterable<Uint8Array>;
  /** Once all pieces were taken. */
  whole(): { readonly bytes: number; readonly sha256: string };
}

/**
 * Writes files: whole or not at all, whatever ends us in the middle of it, and once however often it is sent under its id. The
 * content goes into a temporary file beside the one that it replaces (its name is random, nobody else may read it), to the
 * disk, and then under its name in one step. Writes of one file take turns in that step, so of those that expect the same
 * content one gets through.
 */
export class FileWriter {
  readonly #notes: WriteNotes;
  readonly #byId = new Turns();
  readonly #byPath = new Turns();

  /** `dir`: where notes are kept; ours alone. */
  constructor(dir: string) {
    this.#notes = new WriteNotes(dir);
  }

  /**
   * On disk when it resolves. `goesOn` throws where nobody waits for it any more; nothing is changed then. Throws `conflict`,
   * `file_exists`, `disk_low`, and the rest of file-error.ts.
   */
  write(order: WriteOrder, body: WriteBody, goesOn: () => void): Promise<FileWritten> {
    // One that was sent again meets the one before, which may be at its last step.
    return this.#byId.take(order.write_id, async () => {
      const done = this.#notes.done(order.write_id);
      if (done) return done;
      try {
        return await this.#write(order, body, goesOn);
      } catch (error) {
        throw fileError('write', order.path, error);
      }
    });
  }

  async #write(order: WriteOrder, body: WriteBody, goesOn: () => void): Promise<FileWritten> {
    const { path, write_id, parents, umask } = order;
    if (parents) await makeFolders(splitPath(path).folder, 0o777 & ~umask);
    const target = await findTarget(path, order);
    const known = await checkContent(path, target, order, undefined, goesOn);
    if (order.size !== undefined) await checkRoom(path, target.folder, order.size);
    const temporary = below(target.folder, Buffer.from(`.cr-${randomBytes(12).toString('hex')}`));
    try {
      this.#notes.begin(write_id, temporary);
      const content = await fill(temporary, order, target, body);
      const written: FileWritten = { ...textField('path', path), ...content, created: !target.there };
      await this.#notes.ready(write_id, temporary, written);
      await this.#byPath.take(target.path.toString('latin1'), async () => {
        goesOn();
        await checkContent(path, target, order, known, goesOn);
        failpoint('agent.file_write.before');
        await place(path, temporary, target, order);
        failpoint('agent.file_write.after');
      });
      await syncFolder(target.folder);
      return written;
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined);
      this.#notes.drop(write_id);
      throw error;
    }
  }
}

/** The whole content in a new file, with its mode and owner, on disk. */
async function fill(temporary: Buffer, order: WriteOrder, target: WriteTarget, body: WriteBody) {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const file = await open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    const hash = createHash('sha256');
    let size = 0;
    for await (const bytes of body.pieces()) {
      hash.update(bytes);
      for (let at = 0; at < bytes.byteLength; )
        at += (await file.write(bytes, at, bytes.byteLength - at)).bytesWritten;
      size += bytes.byteLength;
    }
    const sha256 = hash.digest('hex');
    const said = body.whole();
    if (said.bytes !== size || said.sha256 !== sha256)
      throw new RemoteError('stream_cut', 'the content is not what its sender says that it is');
    const mode = await dress(file, order, target);
    await file.sync();
    return { size, sha256, mode };
  } finally {
    await file.close();
  }
}

/** As the file that is replaced: its owner as far as we may give it away, then its mode. Gives the mode. */
async function dress(file: FileHandle, { mode, umask }: WriteOrder, { there }: WriteTarget): Promise<number> {
  const fresh = await file.stat({ bigint: true });
  let keeps = true;
  if (there && (there.uid !== fresh.uid || there.gid !== fresh.gid))
    keeps = await file.chown(Number(there.uid), Number(there.gid)).then(
      () => true,
      () => false,
    );
  // What runs as its owner was meant for the owner that it had.
  const before = there && Number(there.mode & (keeps ? 0o7777n : 0o777n));
  const wanted = mode ?? before ?? 0o666 & ~umask;
  await file.chmod(wanted);
  return wanted;
}

/** Under its name, in one step: of a file that must not be there by a link, which the system refuses where one is. */
async function place(path: Buffer, temporary: Buffer, target: WriteTarget, { create_only }: Conditions) {
  if (!create_only) return rename(temporary, target.path);
  await link(temporary, target.path).catch((error: unknown) => {
    throw errnoOf(error) === 'EEXIST' ? exists(path) : error;
  });
  await rm(temporary, { force: true });
}
