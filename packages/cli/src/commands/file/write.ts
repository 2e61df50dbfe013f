import { closeSync, fstatSync, openSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { bytesSource, type UploadSource } from '@codex-remote/client';
import { newId } from '@codex-remote/platform';
import type { Context } from '../../context.ts';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { flagSwitch, one, type ValuesOf } from '../../table/flag.ts';
import * as read from '../../table/values.ts';
import { textOf } from '../exec/render.ts';
import { urandom } from '../exec/request.ts';
import { fileSource, stdinSource } from '../exec/source.ts';
import { addressOf, fileFlags, filesOf, pathText } from './address.ts';
import { octal } from './render.ts';

const writeFlags = {
  ...fileFlags,
  src: one(read.nonEmpty, 'FILE', 'the local file that is sent; - reads our stdin'),
  content: one(read.text, 'TEXT', 'the content itself'),
  mode: one(read.octalMode, 'MODE', 'octal (default: that of the file there, else what the umask leaves)'),
  'expect-sha256': one(read.sha256, 'HEX', 'conflict unless the content there now has this digest'),
  'create-only': flagSwitch('file_exists where anything is there'),
  parents: flagSwitch('make missing folders on the way'),
} as const;

export const fileWrite = command({
  name: 'file write',
  summary: 'Write a file of a machine: whole or not at all, any size.',
  description:
    'Sent again by itself when a connection breaks; done once. A link is followed and stays: what it leads to is replaced. Links, ACLs and other names of the file before it are not kept.',
  flags: writeFlags,
  positional: 'path',
  examples: [
    ['a text', "file write -m local notes.txt --content 'first note'"],
    ['a file', 'file write -m local copy/of/hosts --src /etc/hosts --parents --mode 0600'],
  ],
  async run(values, context) {
    const address = addressOf('file write', values, context);
    if (values['create-only'] && values['expect-sha256'] !== undefined)
      throw usage({ name: 'file write' }, '--create-only and --expect-sha256 exclude each other');
    const { source, size } = contentOf(values, context);
    const written = await filesOf(context).write(
      {
        ...address,
        writeId: newId(context.clock.wall(), urandom),
        size,
        mode: values.mode,
        expectSha256: values['expect-sha256'],
        createOnly: values['create-only'] === true,
        parents: values.parents === true,
      },
      source,
      { signal: context.output.readerGone },
    );
    return {
      value: { ok: true, machine: address.machine, ...written, mode: octal(written.mode) },
      exit: 0,
      human: () =>
        textOf(`${pathText(written)}: ${written.size} bytes${written.created ? '' : ', replaced'}`),
    };
  },
});

function contentOf(
  { src, content }: ValuesOf<typeof writeFlags>,
  { cwd }: Context,
): { source: UploadSource; size?: number } {
  if ((src === undefined) === (content === undefined))
    throw usage(
      { name: 'file write' },
      src === undefined
        ? 'file write needs a content: --src FILE, --src - or --content TEXT'
        : '--src and --content exclude each other',
    );
  if (content !== undefined) {
    const bytes = Buffer.from(content);
    return { source: bytesSource(bytes), size: bytes.byteLength };
  }
  if (src === undefined || src === '-') return { source: stdinSource() };
  const path = isAbsolute(src) ? src : resolve(cwd, src);
  const source = fileSource('--src', path);
  return { source, ...sizeOf(path) };
}

/** Known of a regular file before it is read. */
function sizeOf(path: string): { size?: number } {
  const fd = openSync(path, 'r');
  try {
    const stat = fstatSync(fd);
    return stat.isFile() && stat.size > 0 ? { size: stat.size } : {};
  } finally {
    closeSync(fd);
  }
}
