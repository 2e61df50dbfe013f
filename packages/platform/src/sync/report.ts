import { isErrorCode, RemoteError, syncJsonItem } from '@codex-remote/protocol/wire';
import { type Action, type BytePath, shownPath } from '../tree/index.ts';

export const reportWords = ['make', 'send', 'link', 'chmod', 'remove', 'refuse', 'skip'] as const;

/** What was done with one name, or would be; `skip`: it was left out although nobody said so. */
export interface Report {
  readonly do: (typeof reportWords)[number];
  readonly path: BytePath;
  /** Of the file that was sent. */
  readonly size?: number;
  /** Of what was refused. */
  readonly code?: string;
  readonly why?: string;
}

const maxWhyChars = 600;

export function reportOf(action: Action): Report {
  if (action.do === 'refuse') return { do: 'refuse', path: action.path, code: 'sync_path', why: action.why };
  if (action.do === 'skip') return { do: 'skip', path: action.path, why: action.why };
  if (action.do === 'remove') return { do: 'remove', path: action.path };
  const { path, size } = action.entry;
  return action.do === 'send' ? { do: 'send', path, size } : { do: action.do, path };
}

export function encodeReport(report: Report): Uint8Array {
  return syncJsonItem('report', { ...report, ...(report.why && { why: report.why.slice(0, maxWhyChars) }) });
}

/** Throws `protocol_error`. */
export function readReport(value: unknown): Report {
  const fields = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  const word = reportWords.find((known) => known === fields.do);
  const { path, size, code, why } = fields;
  if (word === undefined || typeof path !== 'string')
    throw new RemoteError('protocol_error', 'a report of a sync has not the expected shape');
  return {
    do: word,
    path,
    ...(typeof size === 'number' && { size }),
    ...(isErrorCode(code) && { code }),
    ...(typeof why === 'string' && { why }),
  };
}

/** For messages. */
export function reportText({ path, why }: Report): string {
  return why === undefined ? shownPath(path) : `${shownPath(path)}: ${why}`;
}
