import { RemoteError } from '@codex-remote/protocol/wire';
import { execIdRule, machineNameRule } from './names.ts';

/** What the value of a flag is read with. */
export interface ValueContext {
  /** The flag as the user knows it, `--timeout`. */
  readonly flag: string;
  /** Milliseconds since the epoch: `--since 10m` counts back from it. */
  readonly now: number;
}

/** The text of a flag as its value. Throws `usage` naming the flag and what it takes. */
export type ReadValue<T> = (text: string, context: ValueContext) => T;

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** A year; beyond it timers and dates lose their meaning. */
const maxDurationMs = 366 * 86_400_000;

/** `10m`, `50s`, `1h30m`, `250ms` in milliseconds; `0` alone needs no unit. */
export const duration: ReadValue<number> = (text, { flag }) => {
  if (text === '0') return 0;
  const parts = text.match(/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/)
    ? [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)]
    : [];
  const ms = parts.reduce((sum, [, count, unit]) => sum + Number(count) * (unitMs[unit ?? ''] ?? 0), 0);
  if (parts.length === 0 || ms > maxDurationMs)
    throw bad(
      flag,
      text,
      /^\d+$/.test(text)
        ? `a duration with its unit, such as ${text.slice(0, 9)}s`
        : 'a duration such as 50s, 10m or 1h30m',
    );
  return Math.round(ms);
};

/** A duration, or `none`. */
export const durationOrNone: ReadValue<number | 'none'> = (text, context) => {
  if (text === 'none') return text;
  const ms = duration(text, context);
  if (ms === 0) throw bad(context.flag, text, 'a duration such as 30d, or none');
  return ms;
};

/** A time in milliseconds since the epoch: a duration back from now, or RFC 3339. */
export const time: ReadValue<number> = (text, context) => {
  if (/^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:\d\d)$/.test(text)) {
    const at = Date.parse(text.replace(' ', 'T'));
    if (!Number.isNaN(at)) return at;
  }
  if (!/^[\d.]+[a-z]/.test(text))
    throw bad(context.flag, text, 'how long ago (10m) or a time (2026-01-31T12:00:00Z)');
  return context.now - duration(text, context);
};

const maxGlobBytes = 512;

/** A glob of files below a directory. */
export const glob: ReadValue<string> = (text, { flag }) => {
  const wrong = text === '' || text.includes('\0') || text.startsWith('/') || text.split('/').includes('..');
  if (wrong) throw bad(flag, text, "a glob from the exec's directory and not out of it, such as out/*.json");
  if (Buffer.byteLength(text) > maxGlobBytes)
    throw bad(flag, text, `a glob of at most ${maxGlobBytes} bytes`);
  return text;
};

/** A whole number from 0 on. */
export const count: ReadValue<number> = (text, { flag }) => {
  if (!/^\d{1,15}$/.test(text)) throw bad(flag, text, 'a whole number');
  return Number(text);
};

/** Bytes: a whole number, or one with K, M or G (powers of 1024). */
export const bytes: ReadValue<number> = (text, { flag }) => {
  const [, digits, unit] = /^(\d{1,12})([KMG]?)(?:i?B)?$/i.exec(text) ?? [];
  if (digits === undefined) throw bad(flag, text, 'a number of bytes, such as 2000 or 64K');
  return Number(digits) * 1024 ** ['', 'K', 'M', 'G'].indexOf((unit ?? '').toUpperCase());
};

export const text: ReadValue<string> = (value, { flag }) => {
  if (value.includes('\0')) throw bad(flag, value, 'text without a NUL');
  return value;
};

/** Bytes in base64, of either alphabet. */
export const base64: ReadValue<Uint8Array> = (value, { flag }) => {
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(value)) throw bad(flag, value, 'base64');
  return Buffer.from(value, 'base64');
};

/** Permission bits as people write them: `0644`. */
export const octalMode: ReadValue<number> = (value, { flag }) => {
  if (!/^[0-7]{3,4}$/.test(value)) throw bad(flag, value, 'an octal mode such as 0644');
  return Number.parseInt(value, 8);
};

export const sha256: ReadValue<string> = (value, { flag }) => {
  if (!/^[0-9a-f]{64}$/i.test(value)) throw bad(flag, value, 'a SHA-256 in hex, 64 digits');
  return value.toLowerCase();
};

export const nonEmpty: ReadValue<string> = (value, context) => {
  if (value === '') throw bad(context.flag, value, 'something');
  return text(value, context);
};

export const machine: ReadValue<string> = (value, { flag }) => {
  if (!machineNameRule.test(value))
    throw bad(flag, value, 'a machine name: a-z 0-9 . _ - beginning with a letter or digit');
  return value;
};

export const execId: ReadValue<string> = (value, { flag }) => {
  if (!execIdRule.test(value)) throw bad(flag, value, 'an exec id: [a-z0-9][a-z0-9._-]{0,63}');
  return value;
};

/** `.`, `..`, and whatever has a slash in it: a folder here. */
export function isFolder(value: string): boolean {
  return value === '.' || value === '..' || value.includes('/');
}

export const projectName: ReadValue<string> = (value, { flag }) => {
  if (!machineNameRule.test(value))
    throw bad(flag, value, 'a project name: a-z 0-9 . _ - beginning with a letter or digit');
  return value;
};

export const projectOrFolder: ReadValue<string> = (value, context) => {
  if (isFolder(value)) return text(value, context);
  if (!machineNameRule.test(value))
    throw bad(context.flag, value, 'a project name, or a folder with a slash in it such as ./app');
  return value;
};

export const workspaceName: ReadValue<string> = (value, { flag }) => {
  if (!machineNameRule.test(value))
    throw bad(flag, value, 'a workspace name: a-z 0-9 . _ - beginning with a letter or digit');
  return value;
};

const maxRefLength = 255;

/** What git might take for a name of a commit, and never for an option. */
export const gitRef: ReadValue<string> = (value, { flag }) => {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: no name has them
  if (value === '' || value.length > maxRefLength || value.startsWith('-') || /[\0-\x1f\x7f]/.test(value))
    throw bad(flag, value, 'a branch, tag or commit, not beginning with -');
  return value;
};

export const queueName: ReadValue<string> = (value, { flag }) => {
  if (!machineNameRule.test(value))
    throw bad(flag, value, 'a queue name: a-z 0-9 . _ - beginning with a letter or digit');
  return value;
};

export const tokenId: ReadValue<string> = (value, { flag }) => {
  if (/^[0-9a-z]{20}$/.test(value)) return value;
  const whole = /^[0-9a-z]{20}\./.test(value);
  throw bad(flag, whole ? 'a whole token' : value, 'the id of a token, as token list shows it');
};

/** As the schema of queue settings has it. */
const maxConcurrency = 10_000;

/** `NAME=N`: how many of a queue run at once. */
export const queueSetting: ReadValue<readonly [string, number]> = (value, { flag }) => {
  const [, name, digits] = /^([^=]+)=(\d{1,5})$/.exec(value) ?? [];
  const concurrency = Number(digits);
  if (name === undefined || !machineNameRule.test(name) || concurrency > maxConcurrency)
    throw bad(flag, value, `NAME=N, such as gpu=1, N from 0 to ${maxConcurrency}`);
  return [name, concurrency];
};

/** One of `words`. */
export function oneOf<const W extends string>(words: readonly W[]): ReadValue<W> {
  return (value, { flag }) => {
    const word = words.find((known) => known === value);
    if (word === undefined) throw bad(flag, value, `one of ${words.join(', ')}`);
    return word;
  };
}

/** Words with commas between them, each one of `words`. */
export function someOf<const W extends string>(words: readonly W[]): ReadValue<W[]> {
  const one = oneOf(words);
  return (value, context) => value.split(',').map((word) => one(word, context));
}

function bad(flag: string, value: string, wanted: string): RemoteError {
  const shown = value.length > 40 ? `${value.slice(0, 40)}…` : value;
  return new RemoteError('usage', `${flag} takes ${wanted}, not ${JSON.stringify(shown)}`, { sent: 'no' });
}
