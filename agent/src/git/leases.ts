import { RemoteError } from '@codex-remote/protocol/wire';

/** Which exec has which workspace; in memory, since a new agent knows what runs. */
export class Leases {
  readonly #holders = new Map<string, string>();
  readonly #listeners = new Set<() => void>();

  /** Again for who has it. Throws `workspace_busy`. */
  take(project: string, workspace: string, id: string): void {
    const key = `${project}/${workspace}`;
    const holder = this.#holders.get(key) ?? id;
    if (holder !== id)
      throw new RemoteError('workspace_busy', `exec ${holder} has the workspace ${workspace} of ${project}`, {
        exec_id: id,
        hint: `start it with --after ${holder} or in a --queue, or use another workspace`,
        facts: { held_by: holder, workspace },
      });
    this.#holders.set(key, id);
  }

  holder(project: string, workspace: string): string | undefined {
    return this.#holders.get(`${project}/${workspace}`);
  }

  /** What the exec has is free. */
  end(id: string): void {
    const before = this.#holders.size;
    for (const [key, holder] of this.#holders) if (holder === id) this.#holders.delete(key);
    if (this.#holders.size < before) for (const listener of this.#listeners) listener();
  }

  /** Called when something has become free. */
  onFree(listener: () => void): void {
    this.#listeners.add(listener);
  }
}
