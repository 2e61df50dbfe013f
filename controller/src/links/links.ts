import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import { MachineLink } from './link.ts';

/** Where each machine is connected. In this process a map; several controllers will share it one day. */
export class Links {
  readonly #clock: Clock;
  readonly #bornMs: number;
  readonly #invited: (machine: string) => boolean;
  readonly #links = new Map<string, MachineLink>();

  /** `invited`: machines that dial in by themselves. */
  constructor(clock: Clock, invited: (machine: string) => boolean = () => false) {
    this.#clock = clock;
    this.#invited = invited;
    this.#bornMs = clock.monotonic();
  }

  /** The link of a registered machine, made when first asked for. */
  of(machine: string): MachineLink {
    let link = this.#links.get(machine);
    if (!link) {
      link = new MachineLink(machine, this.#clock, this.#bornMs, () => this.#invited(machine));
      this.#links.set(machine, link);
    }
    return link;
  }

  connected(): MachineLink[] {
    return [...this.#links.values()].filter((link) => link.live !== undefined);
  }

  remove(machine: string): void {
    const link = this.#links.get(machine);
    this.#links.delete(machine);
    link?.close(
      new RemoteError('unknown_machine', `unknown machine ${machine}: it was removed`, { machine }),
    );
  }

  closeAll(): void {
    for (const link of this.#links.values())
      link.close(new RemoteError('shutting_down', 'the controller is stopping'));
    this.#links.clear();
  }
}
