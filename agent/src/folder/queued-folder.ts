import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { readStateFile, syncDir } from '@codex-remote/platform';
import { type ExecSpec, execSpec } from '@codex-remote/protocol/schema';
import { ExecFolder, type FolderSnapshot } from './folder.ts';
import { encodeLine } from './journal.ts';
import { type JournalLine, parseStored } from './stored.ts';

/**
 * The folder `queued/<id>` of an exec that waits for its start: those of `execs/<id>`, still empty, and what its start
 * needs. It is there until a folder of the same id is in `execs/`: from then on that one is the truth.
 *
 *   request   the ExecSpec, the only place on disk that has values of `--env`; without it nothing can start
 *   script    as it was sent
 *   stdin     as it was sent
 */
export class QueuedFolder extends ExecFolder {
  override snapshot(): FolderSnapshot {
    return { ...super.snapshot(), queued: { startable: existsSync(this.file('request')) } };
  }

  /** Undefined when it is gone or not ours. Throws `state_unusable`, `fds_exhausted`. */
  request(): ExecSpec | undefined {
    const text = readStateFile(this.file('request'));
    return text === undefined ? undefined : parseStored(execSpec, text);
  }

  /**
   * Notes how it ended and removes what a start needs. When it resolves the exec can start no more, whatever happens to
   * this process or the machine; the note is left out where nothing can be written.
   */
  async end(lines: readonly JournalLine[]): Promise<void> {
    const noted = await this.#noteDurably(lines);
    this.dropRequest();
    // A full disk may have room now.
    if (!noted) await this.#noteDurably(lines);
    await syncDir(this.path);
  }

  /** Throws what the system said. */
  dropRequest(): void {
    for (const name of ['request', 'script', 'stdin']) rmSync(this.file(name), { force: true });
  }

  /** An exec that has ended moves to where the ended are. False where the system refuses: it stays, and is read from here. */
  moveTo(folder: ExecFolder): boolean {
    try {
      renameSync(this.path, folder.path);
      return true;
    } catch {
      return false;
    }
  }

  /** The exec is in `folder` from now on: its script follows, everything else here is removed. Throws what the system said. */
  handOver(folder: ExecFolder): void {
    if (existsSync(this.file('script'))) renameSync(this.file('script'), folder.file('script'));
    // First of all: what removes the rest may be ended in the middle.
    rmSync(this.file('request'), { force: true });
    this.remove();
  }

  async #noteDurably(lines: readonly JournalLine[]): Promise<boolean> {
    try {
      const journal = await open(this.file('journal'), 'a', 0o600);
      try {
        await journal.appendFile(lines.map(encodeLine).join(''));
        await journal.sync();
      } finally {
        await journal.close();
      }
      return true;
    } catch {
      return false;
    }
  }
}

/** Adds to a staged folder what its start will need, and puts it on disk. Takes over `script` and `stdin`. Throws what the system said. */
export async function addRequest(
  path: string,
  spec: ExecSpec,
  files: { readonly script?: string | undefined; readonly stdin?: string | undefined },
): Promise<void> {
  const names = ['request'];
  writeFileSync(join(path, 'request'), JSON.stringify(spec), { flag: 'wx', mode: 0o600 });
  for (const [name, from] of Object.entries(files)) {
    if (from === undefined) continue;
    renameSync(from, join(path, name));
    names.push(name);
  }
  await Promise.all(
    names.map(async (name) => {
      const file = await open(join(path, name), 'r');
      try {
        await file.sync();
      } finally {
        await file.close();
      }
    }),
  );
}
