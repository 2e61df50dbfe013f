import { isUtf8 } from 'node:buffer';
import type { FilePart } from '@codex-remote/client';
import type { FileInfo } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Context } from '../../context.ts';
import { LocalFile } from '../../local-file.ts';
import type { Outcome } from '../../outcome.ts';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { one } from '../../table/flag.ts';
import * as read from '../../table/values.ts';
import { wholeText } from '../../whole-text.ts';
import { textOf } from '../exec/render.ts';
import { addressOf, fileFlags, filesOf, pathText, pathWords } from './address.ts';
import { shownInfo } from './render.ts';

/** Content in an answer: what is given where nothing is said, and the most. */
const defaultContentBytes = 1024 * 1024;
const maxContentBytes = 16 * 1024 * 1024;

export const fileRead = command({
  name: 'file read',
  summary: 'Read a file of a machine: exact bytes, as JSON, raw, or into a local file.',
  description:
    'JSON has at most 1 MiB of it (content, content_b64 where it is not UTF-8), then complete:false and the next_command. --raw and --dst give all of any size. Links are followed. A file that is changed meanwhile is file_changed.',
  flags: {
    ...fileFlags,
    from: one(read.count, 'OFFSET', 'from this byte on'),
    'max-bytes': one(read.bytes, 'N', 'stop after so many bytes'),
    dst: one(read.nonEmpty, 'FILE', 'write it here, whole or not at all; mode as scp gives it'),
    'expect-version': one(read.nonEmpty, 'V', 'file_changed when it is not this one any more (version)'),
  },
  positional: 'path',
  examples: [
    ['a text', 'file read -m local /etc/hosts'],
    ['into a file here', 'file read -m local /etc/hosts --dst hosts.copy'],
  ],
  async run(values, context) {
    const { output } = context;
    const address = addressOf('file read', values, context);
    const version = values['expect-version'];
    if (version !== undefined && !/^[0-9a-f-]{1,120}$/.test(version))
      throw usage({ name: 'file read' }, '--expect-version takes the version of an earlier answer');
    const inAnswer = output.mode !== 'raw' && values.dst === undefined;
    const maxBytes = values['max-bytes'] ?? (inAnswer ? defaultContentBytes : undefined);
    if (inAnswer && (maxBytes ?? 0) > maxContentBytes)
      throw usage({ name: 'file read' }, '--max-bytes in JSON is at most 16M: take --raw or --dst FILE');
    if (output.mode === 'raw' && values.dst !== undefined)
      throw usage({ name: 'file read' }, '--raw and --dst exclude each other');
    const from = values.from ?? 0;
    const order = { ...address, from, maxBytes, version };
    const parts = filesOf(context).read(order, { signal: output.readerGone });
    const { machine } = address;
    if (output.mode === 'raw') return raw(parts, context);
    if (values.dst !== undefined) return intoFile(parts, machine, from, values.dst, context);
    return answer(parts, machine, from);
  },
});

async function raw(parts: AsyncIterable<FilePart>, { output }: Context): Promise<Outcome> {
  for await (const part of parts) if (part.kind === 'data') await output.write(part.bytes);
  return { exit: 0, human: () => '' };
}

async function intoFile(
  parts: AsyncIterable<FilePart>,
  machine: string,
  from: number,
  dst: string,
  context: Context,
): Promise<Outcome> {
  // None is loaded by a command that does without.
  const { resolve } = await import('node:path');
  const { createHash } = await import('node:crypto');
  const hash = createHash('sha256');
  let file: FileInfo | undefined;
  let local: LocalFile | undefined;
  try {
    for await (const part of parts) {
      if (part.kind === 'file') {
        file = part.file;
        local = LocalFile.create(
          resolve(context.cwd, dst) + (dst.endsWith('/') ? '/' : ''),
          nameOf(file),
          file.mode,
        );
      } else if (part.kind === 'data') {
        hash.update(part.bytes);
        local?.write(part.bytes);
      } else if (file && local) {
        local.commit();
        const bytes = part.next - from;
        const value = {
          ...said(machine, file, from, bytes, part),
          dst: local.path,
          sha256: hash.digest('hex'),
        };
        return { value, exit: 0, human: () => textOf(`${value.dst}: ${bytes} bytes`) };
      }
    }
  } finally {
    local?.discard();
  }
  throw cut();
}

async function answer(parts: AsyncIterable<FilePart>, machine: string, from: number): Promise<Outcome> {
  const { createHash } = await import('node:crypto');
  const pieces: Uint8Array[] = [];
  let file: FileInfo | undefined;
  for await (const part of parts) {
    if (part.kind === 'file') file = part.file;
    else if (part.kind === 'data') pieces.push(part.bytes);
    else if (file) {
      const all = Buffer.concat(pieces);
      // Text stays text: a character that the limit would split comes with the next answer.
      const bytes = part.complete ? all : wholeText(all);
      const sha256 =
        from === 0 && part.complete ? { sha256: createHash('sha256').update(bytes).digest('hex') } : {};
      const content = isUtf8(bytes)
        ? { content: bytes.toString('utf8') }
        : { content_b64: bytes.toString('base64') };
      const end = { next: from + bytes.byteLength, complete: part.complete };
      const value = { ...said(machine, file, from, bytes.byteLength, end), ...sha256, ...content };
      return { value, exit: 0, human: () => shown(bytes, value.next_command) };
    }
  }
  throw cut();
}

function said(
  machine: string,
  file: FileInfo,
  from: number,
  bytes: number,
  { next, complete }: { next: number; complete: boolean },
) {
  const version = file.version === undefined ? '' : ` --expect-version ${file.version}`;
  return {
    ok: true,
    machine,
    ...shownInfo(file),
    from,
    bytes,
    complete,
    ...(complete
      ? {}
      : {
          next_from: next,
          next_command: `codex-remote file read -m ${machine} ${pathWords(file)} --from ${next}${version}`,
        }),
  };
}

/** Text as it is, without the newline that follows it anyway; of anything else only that it is none. */
function shown(bytes: Buffer, next: string | undefined): string {
  const text = isUtf8(bytes)
    ? bytes.toString('utf8').replace(/\n$/, '')
    : `${bytes.byteLength} bytes that are no text; --raw or --dst FILE gives them`;
  return next === undefined ? text : `${text}\n${textOf(`there is more; next: ${next}`)}`;
}

function nameOf(file: FileInfo): string {
  return pathText(file).replace(/\/+$/, '').split('/').at(-1) || 'file';
}

function cut(): RemoteError {
  return new RemoteError('stream_cut', 'the file ended without its last record');
}
