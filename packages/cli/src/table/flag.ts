import type { ReadValue } from './values.ts';

interface FlagText {
  /** One line, for help. */
  readonly summary: string;
  /** A single letter. */
  readonly char?: string;
  /** The same flag under other names. */
  readonly aliases?: readonly string[];
}

/** A flag without a value. */
export interface SwitchFlag extends FlagText {
  readonly kind: 'switch';
}

/** A flag with one value, given at most once. */
export interface OneFlag<T> extends FlagText {
  readonly kind: 'one';
  /** What help shows for the value, `DIR`. */
  readonly value: string;
  readonly read: ReadValue<T>;
}

/** A flag that may be given again; its values keep their order. */
export interface ManyFlag<T> extends FlagText {
  readonly kind: 'many';
  readonly value: string;
  readonly read: ReadValue<T>;
}

export type Flag = SwitchFlag | OneFlag<unknown> | ManyFlag<unknown>;
export type Flags = Readonly<Record<string, Flag>>;

/** What a command gets for its flags. */
export type ValuesOf<F extends Flags> = {
  readonly [K in keyof F]?: F[K] extends ManyFlag<infer T>
    ? readonly T[]
    : F[K] extends OneFlag<infer T>
      ? T
      : true;
};

type More = Omit<FlagText, 'summary'>;

export function flagSwitch(summary: string, more: More = {}): SwitchFlag {
  return { kind: 'switch', summary, ...more };
}

export function one<T>(read: ReadValue<T>, value: string, summary: string, more: More = {}): OneFlag<T> {
  return { kind: 'one', value, read, summary, ...more };
}

export function many<T>(read: ReadValue<T>, value: string, summary: string, more: More = {}): ManyFlag<T> {
  return { kind: 'many', value, read, summary, ...more };
}
