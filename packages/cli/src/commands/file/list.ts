import { oneLine } from '@codex-remote/client';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { one } from '../../table/flag.ts';
import * as read from '../../table/values.ts';
import { table } from '../exec/render.ts';
import { addressOf, fileFlags, filesOf, pathWords } from './address.ts';
import { linkText, modeText, octal } from './render.ts';

const defaultLimit = 1000;
/** Entries that a machine gives at once. */
const maxLimit = 10_000;

export const fileList = command({
  name: 'file list',
  summary: 'List a folder on a machine, sorted by the bytes of the names.',
  description:
    'Without a path: the home there. Names that are not UTF-8 are in name_b64. Links are not followed.',
  flags: {
    ...fileFlags,
    limit: one(read.count, 'N', `at most so many (default ${defaultLimit}, at most ${maxLimit})`),
    cursor: one(read.nonEmpty, 'C', 'go on behind an earlier answer (next_cursor)'),
  },
  positional: 'path',
  examples: [
    ['the home there', 'file list -m local'],
    ['a folder', 'file list -m local /etc --limit 20'],
  ],
  async run(values, context) {
    const { limit = defaultLimit, cursor } = values;
    if (limit < 1 || limit > maxLimit)
      throw usage({ name: 'file list' }, `--limit takes a number from 1 to ${maxLimit}`);
    if (cursor !== undefined && !/^[A-Za-z0-9_-]{1,400}$/.test(cursor))
      throw usage({ name: 'file list' }, '--cursor takes the next_cursor of an earlier answer');
    const address = addressOf('file list', values, context, '~');
    const { machine } = address;
    const { entries, next_cursor, ...page } = await filesOf(context).list(address, { limit, cursor });
    const next =
      next_cursor === undefined
        ? undefined
        : `codex-remote file list -m ${machine} ${pathWords(page)} --limit ${limit} --cursor ${next_cursor}`;
    return {
      value: {
        ok: true,
        machine,
        ...page,
        entries: entries.map((entry) => ({ ...entry, mode: octal(entry.mode) })),
        ...(next !== undefined && { next_cursor, next_command: next }),
      },
      exit: 0,
      human: () => {
        const rows = entries.map((entry) => [
          modeText(entry),
          String(entry.size),
          entry.mtime,
          linkText(entry.name ?? Buffer.from(entry.name_b64 ?? '', 'base64').toString(), entry),
        ]);
        const more =
          next === undefined ? '' : `\n${oneLine(`there are more, ${page.total} in all; next: ${next}`)}`;
        return rows.length === 0
          ? `nothing${more}`
          : `${table(['MODE', 'SIZE', 'MODIFIED', 'NAME'], rows)}${more}`;
      },
    };
  },
});
