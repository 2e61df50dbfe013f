import { renameSync } from 'node:fs';
import { failpoint, type Logger, readStateFile, writeDurableSync } from '@codex-remote/platform';
import { defaultConcurrency, type QueueSettings, queueSettings } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import { parseStored } from '../folder/stored.ts';
import { asRefusal } from '../shim/shim-factory.ts';

const stored = z.object({ version: z.literal(1), concurrency: queueSettings });

/**
 * `queues.json` in the agent's home: how many execs of each queue run at once. The agent alone keeps it, because it must
 * know it without a controller, after a restart too.
 */
export class QueueSettingsFile {
  readonly #path: string;
  #concurrency: Readonly<QueueSettings>;

  /**
   * A file that is not ours is put aside as `.bad`; every queue then has the default, the least that moves. Throws
   * `state_unusable` for one that cannot be read.
   */
  constructor(path: string, log?: Pick<Logger, 'warn'>) {
    this.#path = path;
    this.#concurrency = read(path, log);
  }

  concurrencyOf(queue: string): number {
    return Object.hasOwn(this.#concurrency, queue)
      ? (this.#concurrency[queue] ?? defaultConcurrency)
      : defaultConcurrency;
  }

  /** Queues that somebody has set. */
  names(): string[] {
    return Object.keys(this.#concurrency);
  }

  /** On disk when it returns. Throws `usage` when there would be too many, `disk_low`, `state_unusable`. */
  set(changes: Readonly<QueueSettings>): void {
    const settings = queueSettings.safeParse({ ...this.#concurrency, ...changes });
    if (!settings.success)
      throw new RemoteError('usage', `queues: ${settings.error.issues[0]?.message ?? 'not as expected'}`);
    const concurrency = settings.data;
    try {
      failpoint('agent.queues.before');
      writeDurableSync(this.#path, `${JSON.stringify({ version: 1, concurrency })}\n`);
      failpoint('agent.queues.after');
    } catch (error) {
      throw asRefusal(error);
    }
    this.#concurrency = concurrency;
  }
}

function read(path: string, log: Pick<Logger, 'warn'> | undefined): QueueSettings {
  const text = readStateFile(path);
  if (text === undefined) return {};
  const settings = parseStored(stored, text);
  if (settings) return settings.concurrency;
  renameSync(path, `${path}.bad`);
  log?.warn(
    { path, kept: `${path}.bad` },
    'the settings of the queues are damaged: each has its default now',
  );
  return {};
}
