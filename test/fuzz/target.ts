import { RemoteError } from '@codex-remote/protocol/wire';

/** Something that reads bytes which others wrote. */
export interface Target {
  /** Also its folder in `corpus/`. */
  readonly name: string;
  /** Its share of the runs. */
  readonly weight: number;
  /** What the code itself would write: mutations begin there, so that they get past the first check. */
  readonly seeds: () => Uint8Array[];
  /** Words of the format, which chance does not make. */
  readonly tokens?: readonly string[];
  /**
   * Reads the bytes. True: they were a value, which holds what the target promises of values. False: they were refused in
   * the way that is promised. Whatever is thrown is a failure.
   */
  readonly run: (bytes: Uint8Array) => boolean | Promise<boolean>;
}

/** The value, or undefined where it was refused with an error of ours. Everything else is thrown on. */
export function refusedOr<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    // `internal` is what an error becomes that nobody has thought of.
    if (error instanceof RemoteError && error.code !== 'internal') return undefined;
    throw error;
  }
}

export function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

export const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');
export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
export const joined = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
