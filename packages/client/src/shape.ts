import { RemoteError } from '@codex-remote/protocol/wire';

export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Checks by hand of what the controller answers. It runs as the same user and its shapes are schemas of `protocol`; the
 * CLI loads no zod, so it checks what it decides by and takes the rest as it is.
 */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Throws `protocol_error` naming what is wrong. */
export function objectOf(value: unknown, what: string): JsonObject {
  if (!isObject(value)) throw wrong(what, 'an object');
  return value;
}

export function arrayOf(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw wrong(what, 'an array');
  return value;
}

export function stringOf(value: unknown, what: string): string {
  if (typeof value !== 'string') throw wrong(what, 'a string');
  return value;
}

export function numberOf(value: unknown, what: string): number {
  if (typeof value !== 'number') throw wrong(what, 'a number');
  return value;
}

export function booleanOf(value: unknown, what: string): boolean {
  if (typeof value !== 'boolean') throw wrong(what, 'true or false');
  return value;
}

export function wrong(what: string, wanted: string): RemoteError {
  return new RemoteError(
    'protocol_error',
    `the controller's answer is not understood: ${what} is not ${wanted}`,
    {
      hint: 'CLI and controller may be of different versions: codex-remote controller stop, then repeat',
    },
  );
}
