import { takeLock } from '@codex-remote/platform';
import { ExecStore } from '../exec/store.ts';
import type { AgentHome } from '../home.ts';

/** What runs in a home that no daemon serves, read from its folders. Throws `already_running` where one does. */
export function runningExecs(home: AgentHome): string[] {
  const lock = takeLock(home.lock);
  try {
    const store = new ExecStore({ home: home.path, spares: 0 });
    try {
      return store.runningIds();
    } finally {
      store.close();
    }
  } finally {
    lock.release();
  }
}
