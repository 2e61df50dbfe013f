import { takeLock } from '@codex-remote/platform';
import type { AgentHome } from '../home.ts';
import { ExecStore } from '../store/store.ts';

/** What has not ended in a home that no daemon serves. */
export interface UnfinishedExecs {
  /** They go on. */
  readonly running: string[];
  /** They start when there is an agent again. */
  readonly queued: string[];
}

/** Read from the folders; nothing is started. Throws `already_running` where a daemon serves. */
export function unfinishedExecs(home: AgentHome): UnfinishedExecs {
  const lock = takeLock(home.lock);
  try {
    const store = new ExecStore({ home: home.path, spares: 0, dispatch: false });
    try {
      return { running: store.runningIds(), queued: store.queuedIds() };
    } finally {
      store.close();
    }
  } finally {
    lock.release();
  }
}
