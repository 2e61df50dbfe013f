import { type Capability, decideFileChange } from '@codex-remote/protocol/schema';
import { RemoteError, type Session } from '@codex-remote/protocol/wire';
import { checkCapabilities } from '../execs/agent-call.ts';
import type { MachineLink } from '../links/link.ts';
import type { Links } from '../links/links.ts';
import { unknownMachine } from '../registry/nearest.ts';
import { notBroughtUp } from '../registry/not-brought-up.ts';
import type { Registry } from '../registry/registry.ts';

/** Which machine, and how long one that is just reconnecting is waited for. */
export interface MachinePlace {
  readonly machine: string;
  readonly connectWaitMs: number;
  readonly signal: AbortSignal;
}

/** A request that changes something on a machine. */
export interface Change<T> {
  /** Calls `whole` when all of the request is on its way, and is told whether it was so before. */
  send(session: Session, whole: () => void, before: boolean): Promise<T>;
  /** Whether it may be sent once more when the connection breaks. Absent: always. */
  readonly mayRepeat?: () => boolean;
  /** What is to be done where it may have reached the machine. */
  readonly look: string;
}

export interface MachineRequestsOptions {
  readonly registry: Registry;
  readonly links: Links;
  /** Capabilities without which an agent is asked nothing. */
  readonly needs: readonly Capability[];
}

/**
 * Requests about what a machine keeps in its files, over connections that break. All throw `unknown_machine`,
 * `machine_offline`, `agent_outdated`, `connection_reset` and what the machine answers, with its name.
 */
export class MachineRequests {
  readonly #registry: Registry;
  readonly #links: Links;
  readonly #needs: readonly Capability[];

  constructor({ registry, links, needs }: MachineRequestsOptions) {
    this.#registry = registry;
    this.#links = links;
    this.#needs = needs;
  }

  /** Asked again by itself when the connection breaks: looking changes nothing. */
  ask<T>(place: MachinePlace, send: (session: Session) => Promise<T>): Promise<T> {
    return this.at(place, async (link) => {
      for (;;) {
        const session = await link.session(link.patience(place.connectWaitMs), place.signal);
        checkCapabilities(link, this.#needs);
        try {
          return await send(session);
        } catch (error) {
          if (RemoteError.from(error).code !== 'connection_reset' || place.signal.aborted) throw error;
        }
      }
    });
  }

  /**
   * Sent again by itself when the connection breaks, where it may be. Throws `policy_refused` too; what fails says in `sent`
   * whether the whole of it may have reached the machine: nothing of a part ever counts.
   */
  change<T>(place: MachinePlace, { send, mayRepeat, look }: Change<T>): Promise<T> {
    const { machine, signal, connectWaitMs } = place;
    return this.at(place, async (link) => {
      this.askPolicy(machine);
      let sent: 'no' | 'unknown' = 'no';
      const whole = (): void => {
        sent = 'unknown';
      };
      for (;;) {
        const session = await link.session(link.patience(connectWaitMs), signal).catch((error: unknown) => {
          const failure = RemoteError.from(error);
          throw sent === 'no' ? failure.with({ sent }) : broken(machine, sent, look, failure);
        });
        checkCapabilities(link, this.#needs);
        try {
          return await send(session, whole, sent !== 'no');
        } catch (error) {
          const failure = RemoteError.from(error);
          if (failure.code !== 'connection_reset' || signal.aborted) throw failure.with({ sent: 'yes' });
          if (mayRepeat && !mayRepeat()) throw broken(machine, sent, look, failure);
        }
      }
    });
  }

  /** Names the machine in what goes wrong there. */
  async at<T>({ machine }: MachinePlace, work: (link: MachineLink) => Promise<T>): Promise<T> {
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

  /** Throws `policy_refused`. The machine's agent asks its own. */
  askPolicy(machine: string): void {
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
}

/** `sent`: whether the machine may have had the whole of it. Otherwise nothing was changed there. */
function broken(machine: string, sent: 'no' | 'unknown', look: string, cause: RemoteError): RemoteError {
  return new RemoteError(
    'connection_reset',
    `connection reset by peer: ${machine} went away while the request was sent`,
    { machine, sent, hint: sent === 'no' ? 'nothing was changed there; repeat it' : look },
    cause,
  );
}
