import type { VerbParams, VerbReply } from '@codex-remote/protocol/schema';
import { callAgent } from '../execs/agent-call.ts';
import type { RequestBody } from '../execs/request-body.ts';
import { type MachinePlace, MachineRequests } from '../files/machine-requests.ts';
import type { Links } from '../links/links.ts';
import type { Registry } from '../registry/registry.ts';

const look = 'it may have been done; repeat it: what the machine has is not sent twice';

/**
 * Commits on their way to the mirrors of machines. Nothing of them is kept or looked at here: who sends has made the pack,
 * and the machine checks it. All throw as `MachineRequests` does, and `policy_refused`.
 */
export class Git {
  readonly #requests: MachineRequests;

  constructor(parts: { readonly registry: Registry; readonly links: Links }) {
    this.#requests = new MachineRequests({ ...parts, needs: ['git'] });
  }

  /** A policy that refuses what follows refuses this: nothing is packed in vain. */
  have(place: MachinePlace, params: VerbParams<'git.have'>): Promise<VerbReply<'git.have'>> {
    return this.#requests.change(place, {
      send: (session) => callAgent(session, 'git.have', params, { signal: place.signal }),
      look,
    });
  }

  /** Sent again by itself when the body is small enough to be kept: objects that are there already change nothing. */
  receive(
    place: MachinePlace,
    params: VerbParams<'git.receive'>,
    body: RequestBody,
  ): Promise<VerbReply<'git.receive'>> {
    const { signal } = place;
    return this.#requests.change(place, {
      send: (session, whole) =>
        callAgent(session, 'git.receive', params, { signal, body: body.readThen(whole) }),
      mayRepeat: () => body.replayable,
      look,
    });
  }

  fetch(place: MachinePlace, params: VerbParams<'git.fetch'>): Promise<VerbReply<'git.fetch'>> {
    return this.#requests.change(place, {
      send: (session, whole) => {
        whole();
        return callAgent(session, 'git.fetch', params, { signal: place.signal });
      },
      look,
    });
  }

  remove(place: MachinePlace, params: VerbParams<'git.remove'>): Promise<VerbReply<'git.remove'>> {
    return this.#requests.change(place, {
      send: (session, whole) => {
        whole();
        return callAgent(session, 'git.remove', params, { signal: place.signal });
      },
      look,
    });
  }
}
