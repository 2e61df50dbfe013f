import type { StartReply } from '@codex-remote/protocol/schema';
import type { Audit } from '../audit/audit-log.ts';
import type { Caller } from '../audit/entry.ts';
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

/** The way by which everybody's starts go: none is sent that was not recorded. */
export class Starts {
  readonly #execs: Execs;
  readonly #audit: Audit;

  constructor(execs: Execs, audit: Audit) {
    this.#execs = execs;
    this.#audit = audit;
  }

  /** Throws what `Execs.start` throws, and `disk_low` where the audit log cannot be written. */
  async start(order: StartOrder, caller: Caller, signal: AbortSignal): Promise<StartReply> {
    const { machine, execId, body } = order;
    const account = new StartAudit(this.#audit, caller, machine, execId);
    const onSend = async (): Promise<void> => {
      account.about(await specOf(body, execId));
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
}
