import { isUtf8 } from 'node:buffer';
import type { SyncSummary } from '@codex-remote/client/sync';
import type { Outcome } from '../../outcome.ts';
import { shownDuration, textOf } from '../exec/render.ts';
import type { Trees } from './flags.ts';
import { shownBytes } from './progress.ts';

/** Names that an answer lists of each kind; all of them are counted. */
const maxListed = 200;

/** What is told of one name. The path is a character a byte, as the tree library has it. */
export interface Told {
  readonly do: string;
  readonly path: string;
  readonly size?: number;
  readonly code?: string;
  readonly why?: string;
}

/** What was told of names while a sync ran, as far as an answer lists it. */
export class Listing {
  readonly #listed = new Map<string, Record<string, unknown>[]>();
  /** A sync that goes on after a broken connection says some again. */
  readonly #said = new Set<string>();
  #more = false;

  add({ path, ...told }: Told): void {
    const key = `${told.do} ${path}`;
    if (this.#said.has(key)) return;
    const kind = told.do === 'refuse' ? 'refused_names' : told.do === 'skip' ? 'skipped_names' : 'changes';
    const list = this.#listed.get(kind) ?? [];
    this.#listed.set(kind, list);
    if (list.length >= maxListed) {
      this.#more = true;
      return;
    }
    this.#said.add(key);
    const { do: what, ...rest } = told;
    list.push({ ...(kind === 'changes' && { do: what }), ...pathField(path), ...rest });
  }

  fields(): Record<string, unknown> {
    return { ...Object.fromEntries(this.#listed), ...(this.#more && { names_more: true }) };
  }

  lines(): string[] {
    const words = { refused_names: 'refused', skipped_names: 'left out', changes: '' } as const;
    return (Object.keys(words) as (keyof typeof words)[]).flatMap((kind) =>
      (this.#listed.get(kind) ?? []).map((entry) => {
        const name = entry.path ?? Buffer.from(String(entry.path_b64), 'base64').toString();
        const why = entry.why === undefined ? '' : `: ${entry.why}`;
        return `${words[kind] || (changeWords[String(entry.do)] ?? entry.do)} ${name}${why}`;
      }),
    );
  }
}

const changeWords: Readonly<Record<string, string>> = {
  make: 'folder',
  send: 'file',
  link: 'link',
  chmod: 'mode',
  remove: 'remove',
};

function pathField(path: string): { path: string } | { path_b64: string } {
  const bytes = Buffer.from(path, 'latin1');
  return isUtf8(bytes) ? { path: bytes.toString() } : { path_b64: bytes.toString('base64') };
}

/** The answer: what was done, or would be. Status 1 where a name was refused; all others were done then. */
export function outcomeOf(
  { direction, src, dst, order }: Trees,
  summary: SyncSummary,
  listing: Listing,
  durationMs: number,
): Outcome & { readonly value: object } {
  const { refused } = summary;
  const { machine, dryRun } = order;
  const failed = refused === 0 ? { ok: true } : { ok: false, error: incomplete(refused, machine) };
  const value = {
    ...failed,
    machine,
    direction,
    src,
    dst,
    ...(dryRun && { dry_run: true }),
    ...summary,
    duration_ms: Math.round(durationMs),
    ...listing.fields(),
    next_action: refused === 0 ? 'done' : 'fix-config',
  };
  const lines = listing.lines();
  return {
    value,
    exit: refused === 0 ? 0 : 1,
    human: () => textOf(...lines, sentence(summary, dryRun, durationMs)),
  };
}

function incomplete(refused: number, machine: string): Record<string, unknown> {
  return {
    code: 'sync_incomplete',
    message: `${counted(refused, 'name was', 'names were')} refused, all else was done`,
    hint: 'refused_names says why of each',
    retryable: false,
    machine,
  };
}

function sentence(summary: SyncSummary, dryRun: boolean, durationMs: number): string {
  const { files, directories, links, changed, removed, refused, bytes, sent_bytes, received_bytes } = summary;
  const parts = [
    files > 0 && `${counted(files, 'file', 'files')} (${shownBytes(bytes)})`,
    directories > 0 && counted(directories, 'folder', 'folders'),
    links > 0 && counted(links, 'link', 'links'),
    changed > 0 && counted(changed, 'mode', 'modes'),
    removed > 0 && `${removed} removed`,
    refused > 0 && `${refused} refused`,
  ].filter((part) => part !== false);
  const what = parts.length === 0 ? 'nothing to do' : parts.join(', ');
  if (dryRun) return `${what}; nothing was done`;
  return `${what} in ${shownDuration(durationMs)}, ${shownBytes(sent_bytes + received_bytes)} on the wire`;
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
