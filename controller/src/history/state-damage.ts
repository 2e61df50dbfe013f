import { RemoteError } from '@codex-remote/protocol/wire';

/** Primary result codes of SQLite by which the file is not to be used: https://www.sqlite.org/rescode.html */
const unusable: ReadonlyMap<number, string> = new Map([
  [3, 'the system refuses access'],
  [8, 'it cannot be written'],
  [10, 'the disk reports an error'],
  [11, 'it is damaged'],
  [14, 'it cannot be opened'],
  [26, 'it is not a database'],
]);

/** What SQLite says of one database file, in words that name the file and what to do. */
export class StateDamage {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** What `work` gives. Throws `state_unusable` where the file is not to be used, `disk_low`, or what `work` throws. */
  told<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      const code = error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : undefined;
      const why = code === undefined ? undefined : unusable.get(code);
      if (why === undefined) throw RemoteError.from(error);
      return this.found(why, error);
    }
  }

  /** Throws `state_unusable`. */
  found(why: string, cause?: unknown): never {
    throw new RemoteError(
      'state_unusable',
      `the history ${this.#path} cannot be used: ${why}`,
      {
        hint: `\`codex-remote controller stop\`, then move ${this.#path}* away or put a backup there; machines tell again what they keep`,
      },
      cause,
    );
  }
}
