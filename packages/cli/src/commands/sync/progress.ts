import type { SyncProgress } from '@codex-remote/client/sync';
import type { Output } from '../../output.ts';
import { shownDuration } from '../exec/render.ts';

/** Often enough to be read. */
const drawMs = 100;
/** What is over sooner shows nothing of how it went. */
const firstDrawMs = 500;
/** Rates are of the last seconds. */
const rateMs = 3000;

/** One line on stderr that is drawn again and again, where a person sits; nothing elsewhere. */
export class ProgressLine {
  readonly #output: Output;
  readonly #now: () => number;
  readonly #marks: { readonly at: number; readonly bytes: number }[] = [];
  #drawnAt: number;
  #drawn = false;

  /** `now`: milliseconds of a clock that never jumps. */
  constructor(output: Output, now: () => number) {
    this.#output = output;
    this.#now = now;
    this.#drawnAt = now() + firstDrawMs - drawMs;
  }

  show(progress: SyncProgress): void {
    if (!this.#output.terminal || this.#output.mode !== 'human') return;
    const now = this.#now();
    if (now - this.#drawnAt < drawMs) return;
    this.#drawnAt = now;
    this.#marks.push({ at: now, bytes: progress.bytes });
    while ((this.#marks[0]?.at ?? now) < now - rateMs) this.#marks.shift();
    this.#draw(progressText(progress, this.#rate()));
  }

  /** Nothing of it stays. */
  clear(): void {
    if (this.#drawn) this.#draw('');
    this.#drawn = false;
  }

  /** Bytes a second. */
  #rate(): number {
    const first = this.#marks[0];
    const last = this.#marks.at(-1);
    if (!first || !last || last.at === first.at) return 0;
    return ((last.bytes - first.bytes) * 1000) / (last.at - first.at);
  }

  #draw(text: string): void {
    this.#drawn = true;
    // A reader of stderr that is slow or gone is no reason to wait or to stop.
    void this.#output.write(`\r${text}\x1b[K`, 'stderr').catch(() => undefined);
  }
}

export function progressText(progress: SyncProgress, rate: number): string {
  const { phase, entries, files, filesTotal, bytes, bytesTotal } = progress;
  if (phase === 'waiting') return 'waiting for the connection';
  const compared = `${entries} names compared`;
  if (filesTotal === 0) return compared;
  const left = bytesTotal - bytes;
  return [
    phase === 'comparing' ? compared : undefined,
    `${files} of ${filesTotal} files`,
    `${shownBytes(bytes)} of ${shownBytes(bytesTotal)}`,
    rate > 0 ? `${shownBytes(rate)}/s` : undefined,
    rate > 0 && left > 0 ? `${shownDuration((left * 1000) / rate)} left` : undefined,
  ]
    .filter((part) => part !== undefined)
    .join(', ');
}

const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** `999 B`, `1.5 kB`: powers of 1000, as disks are sold. */
export function shownBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
