import { readStateFile, writeDurableSync } from '@codex-remote/platform';

/**
 * Below this protocol the agent speaks to its controller no more: in its home, raised by each welcome, lowered by nothing but
 * `agent init`, which comes over the verified SSH connection of `machine up`. A number that cannot be read is none.
 */
export class ProtocolFloor {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Throws `state_unusable`. */
  read(): number {
    const text = readStateFile(this.#path)?.trim() ?? '';
    return /^[1-9]\d{0,5}$/.test(text) ? Number(text) : 1;
  }

  /** Durable when it returns. Throws what the system said. */
  raise(floor: number): void {
    if (floor > this.read()) writeDurableSync(this.#path, `${floor}\n`);
  }
}
