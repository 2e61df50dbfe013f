import type { Stage } from '@codex-remote/protocol/schema';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';

export type StageName = Stage['name'];

/** What the work of a stage says about it while it runs. */
export interface Note {
  /** More words, at most a few times a second. */
  (detail: string): void;
  /** There was nothing to do. */
  skipped(detail: string): void;
}

/** The stages of one `machine up`: reports each as it begins and ends, and puts its name into what it throws. */
export class Stages {
  readonly done: Stage[] = [];
  readonly #clock: Clock;
  readonly #machine: string;
  readonly #onStage: (stage: Stage) => void;

  constructor(machine: string, clock: Clock, onStage: (stage: Stage) => void) {
    this.#machine = machine;
    this.#clock = clock;
    this.#onStage = onStage;
  }

  async run<T>(name: StageName, work: (note: Note) => Promise<T>): Promise<T> {
    const began = this.#clock.monotonic();
    let detail: string | undefined;
    let status: 'done' | 'skipped' = 'done';
    const stage = (status: Stage['status']): Stage => ({
      name,
      status,
      duration_ms: Math.round(this.#clock.monotonic() - began),
      ...(detail === undefined ? {} : { detail }),
    });
    this.#onStage({ name, status: 'running' });
    try {
      const say = (text: string): void => {
        detail = text;
        this.#onStage(stage('running'));
      };
      const skipped = (text: string): void => {
        detail = text;
        status = 'skipped';
      };
      const value = await work(Object.assign(say, { skipped }));
      this.#end(stage(status));
      return value;
    } catch (error) {
      this.#end(stage('failed'));
      throw RemoteError.from(error).with({ machine: this.#machine, facts: { stage: name } });
    }
  }

  skip(name: StageName, detail: string): void {
    this.#end({ name, status: 'skipped', duration_ms: 0, detail });
  }

  #end(stage: Stage): void {
    this.done.push(stage);
    this.#onStage(stage);
  }
}
