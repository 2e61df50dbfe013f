import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { failpoint, writeDurable } from '@codex-remote/platform';
import { type FileWritten, fileWritten, writeId } from '@codex-remote/protocol/schema';
import { z } from 'zod';

/** How many writes are remembered: who sends one again does so within seconds. */
const maxNotes = 1000;

const storedNote = z.object({
  temporary_b64: z.string(),
  /** It takes its place with this, or has. */
  written: fileWritten.optional(),
});
type Note = z.infer<typeof storedNote>;

/**
 * A note on disk for each write, from before its temporary file is made. It tells two things after any crash: which
 * temporary files nobody wants any more, and whether a write that is sent again has been done: the temporary file of one
 * that was ready is gone then.
 */
export class WriteNotes {
  readonly #dir: string;
  /** In the order in which they began. */
  readonly #ids = new Set<string>();

  /** Removes what writes of an agent before us have left. */
  constructor(dir: string) {
    this.#dir = dir;
    for (const name of existsSync(dir) ? readdirSync(dir).sort() : []) {
      const note = writeId.safeParse(name).success ? this.#read(name) : undefined;
      const done = note !== undefined && isDone(note);
      if (note) removeTemporary(note);
      if (done) this.#ids.add(name);
      else rmSync(join(dir, name), { force: true });
    }
    this.#prune();
  }

  /** Before the temporary file is made. */
  begin(id: string, temporary: Buffer): void {
    const note: Note = { temporary_b64: temporary.toString('base64') };
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    writeFileSync(join(this.#dir, id), JSON.stringify(note), { mode: 0o600 });
    this.#ids.delete(id);
    this.#ids.add(id);
    this.#prune();
  }

  /** The temporary file is whole, and takes its place next. */
  async ready(id: string, temporary: Buffer, written: FileWritten): Promise<void> {
    failpoint('agent.file_note.before');
    const note: Note = { temporary_b64: temporary.toString('base64'), written };
    await writeDurable(join(this.#dir, id), JSON.stringify(note));
    failpoint('agent.file_note.after');
  }

  /** It is not done, and its temporary file is gone. */
  drop(id: string): void {
    this.#ids.delete(id);
    rmSync(join(this.#dir, id), { force: true });
  }

  /** What the write of this id has put there; undefined where it has not, and then nothing of it is left. */
  done(id: string): FileWritten | undefined {
    if (!this.#ids.has(id)) return undefined;
    const note = this.#read(id);
    const done = note !== undefined && isDone(note);
    if (note) removeTemporary(note);
    if (done) return note.written;
    this.drop(id);
    return undefined;
  }

  #read(id: string): Note | undefined {
    try {
      return storedNote.parse(JSON.parse(readFileSync(join(this.#dir, id), 'utf8')));
    } catch {
      // A crash left part of it: there was no temporary file then.
      return undefined;
    }
  }

  #prune(): void {
    for (const id of this.#ids) {
      if (this.#ids.size <= maxNotes) return;
      this.drop(id);
    }
  }
}

function temporaryOf({ temporary_b64 }: Note): Buffer {
  return Buffer.from(temporary_b64, 'base64');
}

/** It was ready, and has its name: its temporary file is gone, or is still a second name of the same file. */
function isDone(note: Note): boolean {
  if (!note.written) return false;
  const temporary = idOf(temporaryOf(note));
  if (temporary === undefined) return true;
  const { path, path_b64 = '' } = note.written;
  return temporary === idOf(path === undefined ? Buffer.from(path_b64, 'base64') : Buffer.from(path));
}

/** Which file a name is; undefined where there is none, or it cannot be told. */
function idOf(path: Buffer): string | undefined {
  try {
    const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false });
    return stat && `${stat.dev} ${stat.ino}`;
  } catch {
    return undefined;
  }
}

function removeTemporary(note: Note): void {
  try {
    rmSync(temporaryOf(note), { force: true });
  } catch {
    // Its folder has gone, or is shut to us by now.
  }
}
