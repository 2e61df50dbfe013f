import type { FileInfo } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { callAgent, checkCapabilities } from '../execs/agent-call.ts';
import type { MachineLink } from '../links/link.ts';
import type { Links } from '../links/links.ts';
import { unknownMachine } from '../registry/nearest.ts';
import { notBroughtUp } from '../registry/not-brought-up.ts';
import type { Registry } from '../registry/registry.ts';
import { type RelayOptions, relayFile } from './record-relay.ts';
import { ContentStream, type ListOrder, ListStream, type ReadOrder } from './streams.ts';

/** Which machine, and how long one that is just reconnecting is waited for. */
export interface FilePlace {
  readonly machine: string;
  readonly connectWaitMs: number;
  readonly signal: AbortSignal;
}

/**
 * Files of machines. The machine alone knows them: nothing is kept here. All throw `unknown_machine`, `machine_offline`,
 * `agent_outdated`, `connection_reset` and what the machine answers.
 */
export class Files {
  readonly #registry: Registry;
  readonly #links: Links;

  constructor({ registry, links }: { readonly registry: Registry; readonly links: Links }) {
    this.#registry = registry;
    this.#links = links;
  }

  /** Asked again by itself when the connection breaks: looking changes nothing. */
  stat(place: FilePlace, path: Uint8Array, sha256: boolean): Promise<FileInfo> {
    return this.#at(place, async (link) => {
      for (;;) {
        const session = await link.session(link.patience(place.connectWaitMs), place.signal);
        checkCapabilities(link, ['files']);
        try {
          return await callAgent(session, 'file.stat', { path, sha256 }, { signal: place.signal });
        } catch (error) {
          if (RemoteError.from(error).code !== 'connection_reset' || place.signal.aborted) throw error;
        }
      }
    });
  }

  list(place: FilePlace, order: ListOrder, to: RelayOptions['to']) {
    return this.#at(place, (link) => relayFile(new ListStream(order), relay(place, link, to)));
  }

  read(place: FilePlace, order: ReadOrder, to: RelayOptions['to']) {
    return this.#at(place, (link) => relayFile(new ContentStream(order), relay(place, link, to)));
  }

  /** Names the machine in what goes wrong there. */
  async #at<T>({ machine }: FilePlace, work: (link: MachineLink) => Promise<T>): Promise<T> {
    const known = this.#registry.get(machine);
    if (!known)
      throw unknownMachine(
        machine,
        this.#registry.list().map(({ name }) => name),
      );
    if (!known.installation) throw notBroughtUp(known);
    try {
      return await work(this.#links.of(machine));
    } catch (error) {
      throw RemoteError.from(error).with({ machine });
    }
  }
}

function relay(
  { connectWaitMs, signal }: FilePlace,
  link: MachineLink,
  to: RelayOptions['to'],
): RelayOptions {
  return { link, firstWaitMs: link.patience(connectWaitMs), signal, to };
}
