import { constants, openSync, rmSync } from 'node:fs';
import type { Clock } from '@codex-remote/protocol/wire';
import type { EnvironmentSource } from '../environment/source.ts';
import type { StoredSpec } from '../folder/stored.ts';
import { jobEnvironment, splitUncarried } from './job-env.ts';
import type { ShimFactory, StagedShim } from './shim-factory.ts';
import { Spares } from './spares.ts';
import { canTake, type JobStart } from './spawn.ts';

/** A job and what its shim has to be made with. */
export interface ShimOrder {
  readonly job: JobStart;
  readonly spec: StoredSpec;
  /** Of the job, as far as a shell carries it. */
  readonly env: Readonly<Record<string, string>>;
  readonly umask: number;
  readonly hasScript: boolean;
  /** Opened here; `unlink`: nothing of it is left in the folders then. */
  readonly stdin?: { readonly path: string; readonly unlink: boolean };
}

/** Where the shims of new execs come from: spares, or made to order. */
export class ShimSupply {
  readonly #factory: ShimFactory;
  readonly #environment: EnvironmentSource;
  readonly #spares: Spares;

  /** `spares`: how many wait for a job. Makes none before `renew`. */
  constructor(factory: ShimFactory, environment: EnvironmentSource, spares: number, clock: Clock) {
    this.#factory = factory;
    this.#environment = environment;
    this.#spares = new Spares(
      () => this.#makeSpare(),
      (staged) => factory.discard(staged),
      spares,
      clock,
    );
  }

  /** A spare when the job asks for nothing of its own, else a shim made for it. Throws as the factory does. */
  async take(order: ShimOrder): Promise<StagedShim> {
    const { job, spec, env, umask, hasScript, stdin } = order;
    const plain = spec.env_names.length === 0 && !spec.merge && !stdin && !hasScript && canTake(job);
    const spare = plain ? this.#spares.take() : undefined;
    if (spare) return spare;
    const stdinFd = stdin && openStdin(stdin);
    return this.#factory.stage({
      env,
      umask,
      merge: spec.merge,
      job,
      ...(stdinFd !== undefined && { stdin: stdinFd }),
    });
  }

  /** For an exec that cannot be started: its files alone. The caller closes `journal`. */
  takeFolder(): Promise<{ path: string; journal: number }> {
    return this.#factory.stageFolder();
  }

  discard(staged: StagedShim): void {
    this.#factory.discard(staged);
  }

  /** A start is over: spares may be made again. */
  refill(): void {
    this.#spares.refill();
  }

  /** The environment is another one: so are the spares. */
  renew(): void {
    this.#spares.renew();
  }

  close(): void {
    this.#spares.close();
  }

  async #makeSpare(): Promise<StagedShim> {
    const login = await this.#environment.current();
    // What is not carried comes with the arguments, whichever shim takes them.
    const { carried } = splitUncarried(jobEnvironment(login.env, {}, this.#environment.user.home));
    return this.#factory.stage({ env: carried, umask: login.umask, merge: false });
  }
}

function openStdin({ path, unlink }: { path: string; unlink: boolean }): number {
  const fd = openSync(path, constants.O_RDONLY);
  if (unlink) rmSync(path, { force: true });
  return fd;
}
