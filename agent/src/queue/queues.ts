import type { ExecState, QueueView } from '@codex-remote/protocol/schema';
import { isEnded } from '@codex-remote/protocol/schema';
import type { Place } from '../exec/entries.ts';
import type { Leases } from '../git/leases.ts';
import { type Dependency, dependencyOf, type StateOf, type Waits } from './predecessors.ts';

/** Keeps a state small: it travels in every report. */
const maxWaitingFor = 16;

/** What is to be done with one that waited. */
export type Decision =
  | { readonly id: string; readonly kind: 'start' }
  | { readonly id: string; readonly kind: 'fail'; readonly detail: string };

interface Waiting {
  readonly waits: Waits;
  /** Not to be decided: it is on its way to disk, or its start or end is under way. */
  held: boolean;
}

export interface QueuesOptions {
  readonly concurrencyOf: (queue: string) => number;
  readonly stateOf: StateOf;
  /** Of workspaces. An exec gets its own when its start is decided; who ends it is their owner. */
  readonly leases: Pick<Leases, 'take' | 'holder'>;
}

/**
 * Who may start, in memory alone: what waits, in the order of acceptance, and who has a place in a queue. A place is taken
 * when a start is decided and free when the exec has ended. Not p-queue: that keeps closures in an order of its own, and
 * here the order outlives the process, those that run were often started by another one, a place in the line is shown,
 * and who waits for a predecessor lets the next one pass.
 */
export class Queues {
  readonly #options: QueuesOptions;
  readonly #waiting = new Map<string, Waiting>();
  /** Ids that have a place, by queue. */
  readonly #placed = new Map<string, Set<string>>();
  /** Of each that waits in a queue, counted when somebody asks after the line has moved. */
  #positions: ReadonlyMap<string, number> | undefined;

  constructor(options: QueuesOptions) {
    this.#options = options;
  }

  /**
   * Whether a new exec starts now, and then it has its place; it gives it back with `leave` if it does not run. Who has
   * waited longer is never passed: a place is free only when nobody who could take it waits. One that asked to wait for
   * nothing does not wait for a workspace either: its start is refused.
   */
  admit(id: string, waits: Waits): Dependency | { readonly kind: 'full' } {
    const asked = waits.queue !== undefined || waits.after !== undefined || waits.after_any !== undefined;
    const dependency: Dependency = asked ? this.#dependencyOf(id, waits) : { kind: 'met' };
    if (dependency.kind !== 'met') return dependency;
    if (!this.#hasRoom(waits.queue) || this.#isNextHeld(waits.queue)) return { kind: 'full' };
    this.#place(waits.queue, id);
    return dependency;
  }

  /** To the end of the line; it is not decided before `release`. */
  add(id: string, waits: Waits): void {
    this.#waiting.set(id, { waits, held: true });
    this.#positions = undefined;
  }

  /** From now on it may start. */
  release(id: string): void {
    const waiting = this.#waiting.get(id);
    if (waiting) waiting.held = false;
  }

  /** Its end is under way: it keeps its place in the line until it leaves. */
  hold(id: string): void {
    const waiting = this.#waiting.get(id);
    if (waiting) waiting.held = true;
  }

  /** It waits no more, and has no place. */
  leave(id: string): void {
    this.#stopWaiting(id);
    for (const placed of this.#placed.values()) placed.delete(id);
  }

  /** Takes over what became of an exec: one that runs has a place and waits no more, one that has ended has neither. */
  changed(state: ExecState): void {
    if (isEnded(state)) return this.leave(state.exec_id);
    if (state.status !== 'running') return;
    this.#stopWaiting(state.exec_id);
    this.#place(state.queue, state.exec_id);
  }

  /** Everything that is to be done now, in order; each is said once. */
  decide(): Decision[] {
    const decisions: Decision[] = [];
    for (const [id, waiting] of this.#waiting) {
      if (waiting.held) continue;
      const dependency = this.#dependencyOf(id, waiting.waits);
      if (dependency.kind === 'failed') decisions.push({ id, kind: 'fail', detail: dependency.detail });
      else if (dependency.kind === 'met' && this.#hasRoom(waiting.waits.queue)) {
        this.#place(waiting.waits.queue, id);
        const { project, workspace } = waiting.waits.worktree ?? {};
        if (project !== undefined && workspace !== undefined)
          this.#options.leases.take(project, workspace, id);
        decisions.push({ id, kind: 'start' });
      } else continue;
      waiting.held = true;
    }
    return decisions;
  }

  /** Undefined for one that does not wait. */
  placeOf(id: string): Place | undefined {
    const waiting = this.#waiting.get(id);
    if (!waiting) return undefined;
    const { queue } = waiting.waits;
    this.#positions ??= this.#count();
    const at = this.#positions.get(id);
    const position = at === undefined ? {} : { position: at };
    if (waiting.held) return { reason: 'starting', ...position };
    const dependency = this.#dependencyOf(id, waiting.waits);
    if (dependency.kind === 'open')
      return { reason: 'dependency', ...position, waiting_for: dependency.ids.slice(0, maxWaitingFor) };
    if (queue === undefined || dependency.kind === 'failed') return { reason: 'starting', ...position };
    if (this.#options.concurrencyOf(queue) === 0) return { reason: 'queue_paused', ...position };
    const placed = [...(this.#placed.get(queue) ?? [])].slice(0, maxWaitingFor);
    return { reason: 'queue_full', ...position, waiting_for: placed };
  }

  /** By name: those in use, and `also`. */
  view(also: readonly string[]): QueueView[] {
    const queued = new Map<string, number>();
    for (const { waits, held } of this.#waiting.values())
      if (waits.queue !== undefined && !held) queued.set(waits.queue, (queued.get(waits.queue) ?? 0) + 1);
    const used = [...this.#placed].filter(([, placed]) => placed.size > 0).map(([queue]) => queue);
    return [...new Set([...also, ...used, ...queued.keys()])].sort().map((queue) => ({
      queue,
      concurrency: this.#options.concurrencyOf(queue),
      running: this.#placed.get(queue)?.size ?? 0,
      queued: queued.get(queue) ?? 0,
    }));
  }

  /** Who has the workspace is one to wait for like any predecessor. */
  #dependencyOf(id: string, waits: Waits): Dependency {
    const dependency = dependencyOf(waits, this.#options.stateOf);
    const { project, workspace } = waits.worktree ?? {};
    if (dependency.kind === 'failed' || project === undefined || workspace === undefined) return dependency;
    const holder = this.#options.leases.holder(project, workspace);
    if (holder === undefined || holder === id) return dependency;
    const ids = dependency.kind === 'open' ? dependency.ids : [];
    return { kind: 'open', ids: [...new Set([...ids, holder])] };
  }

  #hasRoom(queue: string | undefined): boolean {
    return queue === undefined || (this.#placed.get(queue)?.size ?? 0) < this.#options.concurrencyOf(queue);
  }

  /** Somebody found the queue full and is not on disk yet, or is just ending. */
  #isNextHeld(queue: string | undefined): boolean {
    if (queue === undefined) return false;
    const placed = this.#placed.get(queue);
    for (const [id, { waits, held }] of this.#waiting)
      if (held && waits.queue === queue && !placed?.has(id)) return true;
    return false;
  }

  #place(queue: string | undefined, id: string): void {
    if (queue === undefined) return;
    const placed = this.#placed.get(queue);
    if (placed) placed.add(id);
    else this.#placed.set(queue, new Set([id]));
  }

  #stopWaiting(id: string): void {
    if (this.#waiting.delete(id)) this.#positions = undefined;
  }

  #count(): Map<string, number> {
    const lengths = new Map<string, number>();
    const positions = new Map<string, number>();
    for (const [id, { waits }] of this.#waiting) {
      if (waits.queue === undefined) continue;
      const position = (lengths.get(waits.queue) ?? 0) + 1;
      lengths.set(waits.queue, position);
      positions.set(id, position);
    }
    return positions;
  }
}
