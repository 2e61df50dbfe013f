import { readFile } from 'node:fs/promises';
import { setImmediate as breathe } from 'node:timers/promises';
import type { AuditLine, AuditVerdict } from '@codex-remote/protocol/schema';
import { genesis, type Head, hashOf, parseLine } from './chain.ts';
import { retentionVerb } from './retention.ts';
import { listSegments, type Segment, splitLines } from './segments.ts';

/** What is wrong, and with which line: the first that is. */
type Fault = Omit<Extract<AuditVerdict, { ok: false }>, 'ok' | 'count'>;

/** What the log is compared with: where its writer stands, and the place that is kept elsewhere. */
export interface Known {
  readonly head?: Head | undefined;
  readonly saved?: Head | undefined;
}

/** Lines that are looked at before others get their turn. */
const linesAtOnce = 512;

/** Reads the whole log and recomputes every link. Its writer may go on meanwhile: `known.head` is from before the call. */
export async function verifyAudit(dir: string, known: Known): Promise<AuditVerdict> {
  const walk = new Walk(known);
  try {
    const segments = listSegments(dir);
    for (const [at, segment] of segments.entries())
      await walk.file(segment, segments[at - 1], at === segments.length - 1);
    walk.end(segments.at(-1));
    return { ok: true, count: walk.count, head: walk.head, files: segments.length, first_seq: walk.firstSeq };
  } catch (error) {
    if (error instanceof Broken) return { ok: false, count: walk.count, ...error.fault };
    throw error;
  }
}

class Broken extends Error {
  readonly fault: Fault;
  constructor(fault: Fault) {
    super(fault.detail);
    this.fault = fault;
  }
}

class Walk {
  readonly #known: Known;
  count = 0;
  head: Head = genesis;
  firstSeq = 1;
  /** Before the first line where retention took the lines before it; a checkpoint in the chain must say so. */
  #begin: { readonly head: Head; readonly file: string } | undefined;
  #begun = false;

  constructor(known: Known) {
    this.#known = known;
  }

  async file(segment: Segment, before: Segment | undefined, isLast: boolean): Promise<void> {
    const at = (line: number, problem: Fault['problem'], detail: string): Broken =>
      new Broken({ file: segment.name, line, problem, detail });
    if (before && segment.number !== before.number + 1)
      throw at(0, 'missing_file', `it follows ${before.name}: what was between them is gone`);
    const { lines, rest } = splitLines(await readFile(segment.path));
    for (const [index, bytes] of lines.entries()) {
      if (index % linesAtOnce === linesAtOnce - 1) await breathe();
      const line = parseLine(bytes);
      if (!line) throw at(index + 1, 'foreign_line', 'it is no line of the audit log');
      this.#begun ||= this.#beginWith(line, segment);
      if (line.seq !== this.head.seq + 1) {
        const gone = line.seq > this.head.seq;
        throw at(
          index + 1,
          gone ? 'gap' : 'reordered',
          `its number is ${line.seq}, the line before it is ${this.head.seq}`,
        );
      }
      if (line.prev !== this.head.hash)
        throw at(index + 1, 'bad_link', 'the line before it is not the one that it was written after');
      this.head = { seq: line.seq, hash: hashOf(bytes) };
      this.count++;
      this.#compare(index + 1, segment);
      if (line.verb === 'audit.damage')
        throw at(index + 1, 'damage_recorded', `the controller found at its start: ${line.reason ?? ''}`);
      this.#checkpoint(line);
    }
    // What its writer is at is not there in part: it writes between two turns of ours.
    if (rest.byteLength > 0)
      throw at(lines.length + 1, 'torn_line', isLast ? 'the last line has no end' : 'a line has no end');
  }

  end(last: Segment | undefined): void {
    const where = { file: last?.name ?? '', line: 0 };
    if (this.#begin)
      throw new Broken({
        file: this.#begin.file,
        line: 1,
        problem: 'beginning_gone',
        detail: `the log begins with line ${this.firstSeq}, and no checkpoint says that those before it were let go`,
      });
    for (const known of [this.#known.head, this.#known.saved]) {
      if (!known || known.seq <= this.head.seq) continue;
      const detail = `the log ends with line ${this.head.seq}, and had ${known.seq} lines`;
      throw new Broken({ ...where, problem: 'end_gone', detail });
    }
  }

  #beginWith(line: AuditLine, { name }: Segment): true {
    this.firstSeq = line.seq;
    if (line.seq !== 1) {
      this.head = { seq: line.seq - 1, hash: line.prev };
      this.#begin = { head: this.head, file: name };
    }
    return true;
  }

  #compare(line: number, { name }: Segment): void {
    for (const known of [this.#known.head, this.#known.saved])
      if (known?.seq === this.head.seq && known.hash !== this.head.hash) {
        const detail = `line ${known.seq} of the log is not the one that was written`;
        throw new Broken({ file: name, line, problem: 'end_changed', detail });
      }
  }

  #checkpoint({ verb, facts }: AuditLine): void {
    const begin = this.#begin?.head;
    if (
      verb === retentionVerb &&
      begin &&
      facts?.through_seq === begin.seq &&
      facts.through_hash === begin.hash
    )
      this.#begin = undefined;
  }
}
