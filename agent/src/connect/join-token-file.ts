import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { readStateFile, syncDirSync, writeDurableSync } from '@codex-remote/platform';

/** The one-time token of an invitation: 0600 in the agent's home, and gone for good with the first welcome. */
export class JoinTokenFile {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Undefined where there is none. Throws `state_unusable`. */
  read(): string | undefined {
    return readStateFile(this.#path)?.trim();
  }

  write(token: string): void {
    writeDurableSync(this.#path, `${token}\n`);
  }

  /** Durable when it returns. */
  erase(): void {
    rmSync(this.#path, { force: true });
    syncDirSync(dirname(this.#path));
  }
}
