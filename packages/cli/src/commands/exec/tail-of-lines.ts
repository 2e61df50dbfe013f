import { LogStream, type OutputRecord } from '@codex-remote/client';
import type { Output } from '../../output.ts';
import { type LiveOutput, type LiveOutputOptions, renderingFor } from './live-output.ts';

/** So much text is kept per stream while the last lines are looked for. */
const maxKeptBytes = 64 * 1024 * 1024;

type Kept = { give: () => void; bytes: number };

/** Keeps the last `lines` lines of each stream that pass a filter; they are written at the end. */
export class TailOfLines {
  readonly #lines: number;

  constructor(lines: number) {
    this.#lines = lines;
  }

  of(output: Output, options: LiveOutputOptions): LiveOutput {
    const rendering = renderingFor(output, options);
    const kept = { stdout: [] as Kept[], stderr: [] as Kept[] };
    const bytes = { stdout: 0, stderr: 0 };
    const stream = new LogStream(
      {
        piece: (name, line, offset, next, partial, at) => {
          if (options.only?.(line) === false) return;
          const own = typeof line === 'string' ? line : Buffer.from(line);
          kept[name].push({
            give: () => rendering.piece(name, own, offset, next, partial, at),
            bytes: own.length,
          });
          bytes[name] += own.length;
          while (kept[name].length > this.#lines || bytes[name] > maxKeptBytes)
            bytes[name] -= kept[name].shift()?.bytes ?? 0;
        },
        gap: (name, offset, missing, at) => rendering.gap(name, offset, missing, at),
      },
      () => new Date(options.now()).toISOString(),
    );
    return {
      push: (record: OutputRecord) => {
        stream.push(record);
        return undefined;
      },
      end: async (partial) => {
        stream.end(partial);
        for (const { give } of [...kept.stdout, ...kept.stderr]) give();
        const text = rendering.take();
        await output.write(text.stdout);
        await output.write(text.stderr, 'stderr');
      },
    };
  }
}
