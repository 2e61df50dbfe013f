import { statSync } from 'node:fs';
import { failpoint, isMissing, readStateFile, unreadable, writeDurableSync } from '@codex-remote/platform';
import {
  decide,
  fullPolicy,
  isNarrower,
  isSamePolicy,
  type MachinePolicy,
  machinePolicy,
  type PolicyRequest,
} from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';

/**
 * What this machine lets start, in `policy.json` of the agent's home. Who can write that file (`machine up` over SSH, the
 * user of the machine) can set anything; the controller over its session can only narrow it. Read again when it has changed.
 */
export class PolicyFile {
  readonly #path: string;
  #read: { readonly stamp: string; readonly policy: MachinePolicy } | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Throws `state_unusable`: a policy that cannot be read is not one that lets everything start. */
  get(): MachinePolicy {
    const stamp = this.#stamp();
    if (this.#read?.stamp === stamp) return this.#read.policy;
    const text = readStateFile(this.#path);
    const policy = text === undefined ? fullPolicy : this.#parse(text);
    this.#read = { stamp, policy };
    return policy;
  }

  /** Throws `policy_refused`. */
  check(request: PolicyRequest, execId: string): void {
    const decision = decide(this.get(), request);
    if (decision.allowed) return;
    throw new RemoteError('policy_refused', `the policy of the machine refuses this: ${decision.why}`, {
      exec_id: execId,
      facts: { rule: decision.rule, policy: this.get().mode, refused_by: 'agent' },
    });
  }

  /** Durable when it returns. `applied: false`: it would let more start, and everything is as it was. */
  narrow(next: MachinePolicy): { policy: MachinePolicy; applied: boolean } {
    const now = this.get();
    if (!isNarrower(next, now)) return { policy: now, applied: false };
    if (!isSamePolicy(next, now)) this.#set(next);
    return { policy: next, applied: true };
  }

  /** For who came over SSH, or is on the machine. A file that cannot be understood is replaced. */
  replace(policy: MachinePolicy): void {
    try {
      if (isSamePolicy(policy, this.get())) return;
    } catch {
      // Written anew.
    }
    this.#set(policy);
  }

  #set(policy: MachinePolicy): void {
    failpoint('agent.policy.before');
    writeDurableSync(this.#path, `${JSON.stringify(policy, undefined, 2)}\n`);
    failpoint('agent.policy.after');
  }

  #stamp(): string {
    try {
      const { ino, size, mtimeMs, ctimeMs } = statSync(this.#path);
      return `${ino} ${size} ${mtimeMs} ${ctimeMs}`;
    } catch (error) {
      if (isMissing(error)) return '';
      throw unreadable(this.#path, error);
    }
  }

  #parse(text: string): MachinePolicy {
    try {
      return machinePolicy.parse(JSON.parse(text));
    } catch (error) {
      throw new RemoteError(
        'state_unusable',
        `the policy ${this.#path} cannot be understood: nothing is started`,
        { hint: '`codex-remote machine up` writes it anew' },
        error,
      );
    }
  }
}
