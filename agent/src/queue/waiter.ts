import type { SignalName } from '@codex-remote/protocol/schema';
import type { Place, Waiting } from '../exec/entries.ts';
import type { QueuedFolder } from '../folder/queued-folder.ts';
import type { StoredSpec } from '../folder/stored.ts';

/** An exec between its acceptance and its start. */
export class Waiter implements Waiting {
  readonly folder: QueuedFolder;
  readonly spec: StoredSpec;
  /** Resolves when it runs or has ended. */
  readonly left: Promise<void>;
  readonly leave: () => void;
  readonly place: () => Place | undefined;
  /** It is at its gate, or its end is being written: nothing else may touch it. */
  busy = false;
  cancel: SignalName | undefined;
  /** Aborted when it is cancelled on its way to its gate: what is made for it need not be made. */
  readonly stop = new AbortController();

  constructor(folder: QueuedFolder, spec: StoredSpec, place: () => Place | undefined) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.folder = folder;
    this.spec = spec;
    this.left = promise;
    this.leave = resolve;
    this.place = place;
  }
}
