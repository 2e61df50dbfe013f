import { type ProcessIdentity, parseStat } from '@codex-remote/platform';

/** Size of the record file, all of it allocated before the start: a full disk cannot lose an exit code. */
export const recordBytes = 4096;

/** What the shim has written so far, see shim.sh. A field is there only once its whole line is. */
export interface ExitRecord {
  /** The job itself: it has run. */
  readonly job?: ProcessIdentity;
  readonly exitCode?: number;
  /** The gate closed before `go`, or the shell at the gate was ended: the job never ran. */
  readonly aborted: boolean;
  /** The directory had gone: the job never ran. */
  readonly noCwd: boolean;
  /** Streams whose pump has written everything. */
  readonly eof: ReadonlySet<string>;
  /** Streams that lost bytes to a full disk. */
  readonly torn: ReadonlySet<string>;
  /** Nothing was ever written to it, and nothing taken away: the job never ran. */
  readonly untouched: boolean;
  /** Something in it is not what the shim writes. What is told then is what is certain all the same. */
  readonly damaged: boolean;
}

/** Exit code and its complement: the shim writes both, so that a changed digit is not another code. */
const checkSum = 255;

/**
 * Reads whole `v1 … end` lines: a half written line says nothing. Nothing is concluded from what is not there when
 * something unknown is, and an exit code only where its check agrees; shims of older agents wrote none.
 */
export function parseRecord(text: string): ExitRecord {
  let job: ProcessIdentity | undefined;
  let exitCode: number | undefined;
  let check: number | undefined;
  let aborted = false;
  let noCwd = false;
  const eof = new Set<string>();
  const torn = new Set<string>();
  // The rest is fill. What follows the last newline is half a line even when it looks whole.
  const fill = text.indexOf('\n\n');
  const lines = (fill < 0 ? text : text.slice(0, fill + 1)).split('\n');
  lines.pop();
  let damaged = fill >= 0 && /[^\n]/.test(text.slice(fill));
  for (const line of lines) {
    const match = /^v1 ([a-z]+)(?: (.*))? end$/.exec(line);
    const value = match?.[2] ?? '';
    switch (match?.[1]) {
      case 'job': {
        // To its end: two lines that have become one are neither.
        const stat = /\) [A-Za-z] [-\d ]+$/.test(value) ? parseStat(value) : undefined;
        job = stat && { pid: stat.pid, start: stat.start };
        damaged ||= !stat;
        break;
      }
      case 'exit':
        if (/^\d{1,3}$/.test(value) && Number(value) <= 255) exitCode = Number(value);
        else damaged = true;
        break;
      case 'check':
        check = Number(value);
        break;
      case 'aborted':
        aborted = true;
        break;
      case 'nocwd':
        noCwd = true;
        break;
      case 'eof':
        eof.add(value);
        break;
      case 'torn':
        torn.add(value);
        break;
      default:
        damaged ||= line !== '';
    }
  }
  if (check !== undefined && exitCode !== undefined && exitCode + check !== checkSum) {
    exitCode = undefined;
    damaged = true;
  }
  const rest = { eof, torn, damaged, untouched: text.length >= recordBytes && !/[^\n]/.test(text) };
  if (job) return { job, ...(exitCode !== undefined && { exitCode }), aborted: false, noCwd: false, ...rest };
  // The job line is written before the shell at the gate becomes the job: an exit without it is that shell's.
  return { aborted: aborted || (exitCode !== undefined && !noCwd && !damaged), noCwd, ...rest };
}
