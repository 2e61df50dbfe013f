import {
  decideFileChange,
  type FileInfo,
  type FileRemoved,
  type FileWritten,
  type FolderMade,
  type VerbParams,
} from '@codex-remote/protocol/schema';
import { RemoteError, type Session } from '@codex-remote/protocol/wire';
import { callAgent, checkCapabilities } from '../execs/agent-call.ts';
import type { RequestBody } from '../execs/request-body.ts';
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

  /**
   * Sent again by itself when the connection breaks and the body is small enough to be kept: under its `write_id` it is done
   * once. What fails says in `sent` whether the whole of it may have reached the machine: nothing of a part ever counts.
   */
  write(place: FilePlace, params: VerbParams<'file.write'>, body: RequestBody): Promise<FileWritten> {
    const { signal } = place;
    return this.#change(
      place,
      (session, whole) => callAgent(session, 'file.write', params, { signal, body: untilEnd(body, whole) }),
      () => body.replayable,
    );
  }

  /** Sent again by itself when the connection breaks: what is gone by then cannot be removed twice. */
  remove(place: FilePlace, params: VerbParams<'file.remove'>): Promise<FileRemoved> {
    return this.#change(place, async (session, whole, before) => {
      whole();
      try {
        return await callAgent(session, 'file.remove', params, { signal: place.signal });
      } catch (error) {
        const failure = RemoteError.from(error);
        throw before && failure.code === 'file_not_found' ? goneMeanwhile(failure) : failure;
      }
    });
  }

  /** Sent again by itself where that cannot make it seem that somebody else had made it. */
  mkdir(place: FilePlace, params: VerbParams<'file.mkdir'>): Promise<FolderMade> {
    return this.#change(
      place,
      (session, whole) => {
        whole();
        return callAgent(session, 'file.mkdir', params, { signal: place.signal });
      },
      () => params.parents,
    );
  }

  /** `send` calls `whole` when all of the request is on its way, and is told whether it was so before. */
  #change<T>(
    place: FilePlace,
    send: (session: Session, whole: () => void, before: boolean) => Promise<T>,
    mayRepeat: () => boolean = () => true,
  ): Promise<T> {
    const { machine, signal, connectWaitMs } = place;
    return this.#at(place, async (link) => {
      this.#askPolicy(machine);
      let sent: 'no' | 'unknown' = 'no';
      const whole = (): void => {
        sent = 'unknown';
      };
      for (;;) {
        const session = await link.session(link.patience(connectWaitMs), signal).catch((error: unknown) => {
          const failure = RemoteError.from(error);
          throw sent === 'no' ? failure.with({ sent }) : broken(machine, sent, failure);
        });
        checkCapabilities(link, ['files']);
        try {
          return await send(session, whole, sent !== 'no');
        } catch (error) {
          const failure = RemoteError.from(error);
          if (failure.code !== 'connection_reset' || signal.aborted) throw failure.with({ sent: 'yes' });
          if (!mayRepeat()) throw broken(machine, sent, failure);
        }
      }
    });
  }

  /** Throws `policy_refused`. The machine's agent asks its own. */
  #askPolicy(machine: string): void {
    const policy = this.#registry.get(machine)?.policy;
    const decision = policy && decideFileChange(policy);
    if (!policy || !decision || decision.allowed) return;
    throw new RemoteError('policy_refused', `the policy of ${machine} refuses this: ${decision.why}`, {
      machine,
      sent: 'no',
      hint: `\`codex-remote machine show -m ${machine}\` has its policy; who runs the controller changes it with machine set`,
      facts: { rule: decision.rule, policy: policy.mode, refused_by: 'controller' },
    });
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

async function* untilEnd(body: RequestBody, whole: () => void): AsyncGenerator<Uint8Array, void, void> {
  yield* body.read();
  whole();
}

/** `sent`: whether the machine may have had the whole of it. Otherwise nothing was changed there. */
function broken(machine: string, sent: 'no' | 'unknown', cause: RemoteError): RemoteError {
  const hint =
    sent === 'no'
      ? 'nothing was changed there; repeat it'
      : 'it may have been done; file stat tells what is there now';
  return new RemoteError(
    'connection_reset',
    `connection reset by peer: ${machine} went away while the request was sent`,
    { machine, sent, hint },
    cause,
  );
}

function goneMeanwhile(cause: RemoteError): RemoteError {
  return new RemoteError(
    'file_not_found',
    'it is gone: removed by this request before the connection broke, or by someone else',
    { hint: 'there is nothing left to do' },
    cause,
  );
}

function relay(
  { connectWaitMs, signal }: FilePlace,
  link: MachineLink,
  to: RelayOptions['to'],
): RelayOptions {
  return { link, firstWaitMs: link.patience(connectWaitMs), signal, to };
}
