import { type FileAddress, FileClient } from '@codex-remote/client';
import type { Context } from '../../context.ts';
import { shellQuote } from '../../shell-quote.ts';
import { usage } from '../../table/bind.ts';
import { one, type ValuesOf } from '../../table/flag.ts';
import { connectWait, defaultConnectWaitMs, machineFlag } from '../../table/shared.ts';
import * as read from '../../table/values.ts';
import { machineOf } from '../exec/address.ts';

/** Which file: what all commands about files take. The positional is `path`. */
export const fileFlags = {
  machine: machineFlag,
  path: one(
    read.nonEmpty,
    'PATH',
    'absolute, ~/..., or from the home there; --path=-x where it begins with -',
  ),
  'path-b64': one(read.base64, 'B64', 'its bytes, for a name that is not UTF-8 (path_b64 of an answer)'),
  'connect-wait': connectWait,
} as const;

type FileValues = ValuesOf<typeof fileFlags>;

/** Longest path that systems take. */
const maxPathBytes = 4095;

/** The file that a command is about. Throws `usage`. */
export function addressOf(
  command: string,
  values: FileValues,
  context: Context,
  otherwise?: string,
): FileAddress {
  return {
    machine: machineOf(command, values.machine, context.env),
    path: pathBytes(command, values, otherwise),
    connectWaitMs: values['connect-wait'] ?? defaultConnectWaitMs,
  };
}

export function filesOf({ client, clock }: Context): FileClient {
  return new FileClient(client.connection, clock);
}

function pathBytes(name: string, values: FileValues, otherwise: string | undefined): Uint8Array {
  const { path = values['path-b64'] === undefined ? otherwise : undefined, 'path-b64': given } = values;
  if (path !== undefined && given !== undefined)
    throw usage({ name }, '--path and --path-b64 exclude each other');
  // What is no UTF-8 in an argument comes here as this character: it would be another file.
  if (path?.includes('\ufffd'))
    throw usage({ name }, 'the path is not UTF-8: give its bytes with --path-b64');
  const bytes = path === undefined ? given : Buffer.from(path);
  if (bytes === undefined) throw usage({ name }, `${name} needs a path`);
  if (bytes.byteLength === 0 || bytes.byteLength > maxPathBytes || bytes.includes(0))
    throw usage({ name }, `a path has 1 to ${maxPathBytes} bytes, none of them NUL`);
  return bytes;
}

/** A path of an answer. */
export interface AnsweredPath {
  readonly path?: string | undefined;
  readonly path_b64?: string | undefined;
}

/** It as words of a command line. */
export function pathWords({ path, path_b64 = '' }: AnsweredPath): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a line of ours has none of them
  if (path === undefined || /[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/.test(path))
    return `--path-b64 ${path === undefined ? path_b64 : Buffer.from(path).toString('base64')}`;
  return path.startsWith('-') ? shellQuote(`--path=${path}`) : shellQuote(path);
}

export function pathText({ path, path_b64 }: AnsweredPath): string {
  return path ?? Buffer.from(path_b64 ?? '', 'base64').toString();
}
