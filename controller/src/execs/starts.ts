import { hash } from 'node:crypto';
import { decide, type ExecSpec, type PolicyRequest, type StartReply } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Audit } from '../audit/audit-log.ts';
import type { Caller } from '../audit/entry.ts';
import type { MachineRecord } from '../registry/registry.ts';
import type { Execs } from './execs.ts';
import type { RequestBody } from './request-body.ts';
import { StartAudit, specOf } from './start-audit.ts';

export interface StartOrder {
  readonly machine: string;
  readonly execId: string;
  readonly body: RequestBody;
  readonly connectWaitMs: number;
  readonly needs?: readonly string[] | undefined;
}

/** On which machines projects may be. */
export interface ProjectPlaces {
  /** Throws `unknown_project` where the project is not for the machine. */
  checkMachine(project: string, machine: string): void;
}

/**
 * The way by which everybody's starts go: none is sent that was not recorded, that the machine's policy refuses, or that is of
 * a project which is not for the machine.
 */
export class Starts {
  readonly #execs: Execs;
  readonly #audit: Audit;
  readonly #projects: ProjectPlaces;

  constructor(execs: Execs, audit: Audit, projects: ProjectPlaces) {
    this.#execs = execs;
    this.#audit = audit;
    this.#projects = projects;
  }

  /** Throws what `Execs.start` throws, `policy_refused`, `unknown_project`, and `disk_low` where the audit log cannot be written. */
  async start(order: StartOrder, caller: Caller, signal: AbortSignal): Promise<StartReply> {
    const { machine, execId, body } = order;
    const account = new StartAudit(this.#audit, caller, machine, execId);
    const onSend = async (): Promise<void> => {
      const spec = await specOf(body, execId);
      account.about(spec);
      await this.#permit(this.#execs.machine(machine), spec, body, signal);
      account.requested();
    };
    let reply: StartReply;
    try {
      reply = await this.#execs.start(
        machine,
        execId,
        body,
        order.connectWaitMs,
        signal,
        order.needs,
        onSend,
      );
    } catch (error) {
      await account.failed(error);
      throw error;
    }
    await account.accepted(reply);
    return reply;
  }

  /** Who sends again what was accepted before gets that exec, whatever is permitted by now: nothing starts by it. */
  async #permit(
    machine: MachineRecord,
    spec: ExecSpec,
    body: RequestBody,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await this.#askPolicy(machine, spec, body);
      if (spec.worktree) this.#projects.checkMachine(spec.worktree.project, machine.name);
    } catch (error) {
      if (!(await this.#isKnown(machine.name, spec.exec_id, signal))) throw error;
    }
  }

  async #askPolicy({ name, policy }: MachineRecord, spec: ExecSpec, body: RequestBody): Promise<void> {
    if (!policy) return;
    const decision = decide(policy, await requestOf(spec, body));
    if (decision.allowed) return;
    throw new RemoteError('policy_refused', `the policy of ${name} refuses this: ${decision.why}`, {
      machine: name,
      exec_id: spec.exec_id,
      sent: 'no',
      hint: `\`codex-remote machine show -m ${name}\` has its policy; who runs the controller changes it with machine set`,
      facts: { rule: decision.rule, policy: policy.mode, refused_by: 'controller' },
    });
  }

  async #isKnown(machine: string, execId: string, signal: AbortSignal): Promise<boolean> {
    try {
      const { state } = await this.#execs.get(execId, machine, 0, signal);
      return state.exec_id === execId;
    } catch (error) {
      const { code, details } = RemoteError.from(error);
      // Retention has its tombstone: the machine answers from that.
      if (code === 'exec_not_found') return details.facts?.removed_at !== undefined;
      if (code === 'ambiguous_id') return false;
      throw error;
    }
  }
}

async function requestOf(spec: ExecSpec, body: RequestBody): Promise<PolicyRequest> {
  const { command } = spec;
  if (command.kind === 'argv') return spec;
  if (command.kind === 'cmd') return { ...spec, text_sha256: hash('sha256', command.cmd, 'hex') };
  const script = await body.script().catch((error: unknown) => {
    // No policy names one of this size.
    if (RemoteError.from(error).code === 'too_large') return undefined;
    throw error;
  });
  return { ...spec, text_sha256: script && hash('sha256', script, 'hex') };
}
