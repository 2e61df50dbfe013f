import type { SyncParams } from '@codex-remote/protocol/schema';
import { checkCapabilities } from '../execs/agent-call.ts';
import { type MachinePlace, MachineRequests } from '../files/machine-requests.ts';
import type { Links } from '../links/links.ts';
import type { Registry } from '../registry/registry.ts';
import { exchange, type SyncCaller, type SyncEnd } from './exchange.ts';

const needs = ['sync2'] as const;

/**
 * Trees of machines. A conversation that breaks is not gone on with here: the caller begins anew, and finds done what is done.
 * Both throw as `MachineRequests` does, and what the machine answers.
 */
export class Sync {
  readonly #requests: MachineRequests;

  constructor({ registry, links }: { readonly registry: Registry; readonly links: Links }) {
    this.#requests = new MachineRequests({ registry, links, needs });
  }

  /** Throws `policy_refused` as well. */
  push(place: MachinePlace, params: SyncParams, caller: SyncCaller): Promise<SyncEnd> {
    return this.#run(place, 'sync.push', params, caller);
  }

  pull(place: MachinePlace, params: SyncParams, caller: SyncCaller): Promise<SyncEnd> {
    return this.#run(place, 'sync.pull', params, caller);
  }

  #run(
    place: MachinePlace,
    verb: 'sync.push' | 'sync.pull',
    params: SyncParams,
    caller: SyncCaller,
  ): Promise<SyncEnd> {
    return this.#requests.at(place, async (link) => {
      if (verb === 'sync.push' && !params.dry_run) this.#requests.askPolicy(place.machine);
      const session = await link.session(link.patience(place.connectWaitMs), place.signal);
      checkCapabilities(link, needs);
      return exchange(session, verb, params, caller);
    });
  }
}
