import { oneLine } from '@codex-remote/client';
import type { ChangedFile } from '@codex-remote/protocol/schema';
import { table } from './render.ts';

/** A file of a diff in an answer: without the names that git has for contents. */
export function shownChange({
  old_id,
  new_id,
  ...file
}: ChangedFile): Omit<ChangedFile, 'old_id' | 'new_id'> {
  return file;
}

/** Lines for people: what became of each file, and the sum. */
export function shownStat(files: readonly ChangedFile[]): string[] {
  if (files.length === 0) return ['nothing was changed'];
  const rows = files.map((file) => [letters[file.status] ?? '?', linesOf(file), oneLine(nameOf(file))]);
  return [table(['', 'LINES', 'FILE'], rows), `${files.length} file${files.length === 1 ? '' : 's'} changed`];
}

const letters: Readonly<Record<string, string>> = {
  added: 'A',
  deleted: 'D',
  modified: 'M',
  type_changed: 'T',
};

function linesOf({ added_lines, deleted_lines, old_size = 0, new_size = 0 }: ChangedFile): string {
  return added_lines === undefined
    ? `${old_size} -> ${new_size} B`
    : `+${added_lines} -${deleted_lines ?? 0}`;
}

function nameOf({ path, path_b64 = '' }: ChangedFile): string {
  return path ?? Buffer.from(path_b64, 'base64').toString();
}
