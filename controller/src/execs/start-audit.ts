import { type ExecSpec, execSpec, type StartReply } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Audit } from '../audit/audit-log.ts';
import { reasonOf } from '../audit/audited.ts';
import { type AuditEntry, type Caller, redacted } from '../audit/entry.ts';
import type { RequestBody } from './request-body.ts';

/** The account that the audit log has of one start: that it is about to be sent, and what became of it. */
export class StartAudit {
  readonly #audit: Audit;
  readonly #what: Caller & { verb: string; machine: string; exec_id: string };
  #durable: Promise<void> | undefined;
  #spec: ExecSpec | undefined;

  constructor(audit: Audit, caller: Caller, machine: string, execId: string) {
    this.#audit = audit;
    this.#what = { ...caller, verb: 'exec.start', machine, exec_id: execId };
  }

  /** Names the request in what follows. */
  about(spec: ExecSpec): void {
    this.#spec = spec;
  }

  /**
   * Before anything is sent. Where this cannot be written nothing runs: throws `disk_low`, `state_unusable`. It is synced
   * while the machine does its own part; `accepted` waits for both.
   */
  requested(): void {
    try {
      this.#durable = this.#audit.write({
        ...this.#what,
        ...shownOf(this.#spec),
        result: 'requested',
      }).durable;
    } catch (error) {
      throw RemoteError.from(error).with({ sent: 'no' });
    }
  }

  /** Throws where the machine accepted it and the disk here did not keep that it was asked: it may run. */
  async accepted({ view, attached }: StartReply): Promise<void> {
    const { digest } = view.state;
    this.#audit.note({ ...this.#what, digest, result: attached ? 'attached' : 'accepted' });
    await this.#durable?.catch((error: unknown) => {
      const { machine, exec_id } = this.#what;
      throw RemoteError.from(error).with({ machine, exec_id, sent: 'yes' });
    });
  }

  /** A refusal is on disk before it is told, where there is room for it. */
  async failed(error: unknown): Promise<void> {
    const failure = RemoteError.from(error);
    const known = this.#durable === undefined ? shownOf(this.#spec) : {};
    const result = failure.details.sent === 'unknown' ? 'unknown' : 'refused';
    await this.#audit
      .record({ ...this.#what, ...known, result, reason: reasonOf(failure) })
      .catch(() => undefined);
  }
}

/** The spec of a start. Throws `usage` as the agent would; nothing was sent then. */
export async function specOf(body: RequestBody, execId: string): Promise<ExecSpec> {
  const bytes = await body.spec();
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new RemoteError('protocol_error', 'the spec of exec.start is not JSON', { sent: 'no' }, error);
  }
  const parsed = execSpec.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const field = issue?.path.join('.') ?? '';
    throw new RemoteError(
      'usage',
      `the spec of exec.start: ${field === '' ? '' : `${field}: `}${issue?.message ?? 'not as expected'}`,
      { sent: 'no', facts: { field } },
    );
  }
  if (parsed.data.exec_id !== execId)
    throw new RemoteError('protocol_error', 'exec.start names two exec ids', { sent: 'no' });
  return parsed.data;
}

/** What is kept of a request: values of `--env` never, wherever they stand; of a script and of stdin only that they were there. */
function shownOf(spec: ExecSpec | undefined): Partial<AuditEntry> {
  if (!spec) return {};
  const secrets = Object.values(spec.env);
  const { command } = spec;
  const words = command.kind === 'argv' ? command.argv : command.kind === 'cmd' ? [command.cmd] : [];
  const names = Object.keys(spec.env).join(' ');
  return {
    ...(words.length > 0 && { argv: words.map((word) => redacted(word, secrets)) }),
    ...(spec.cwd !== undefined && { cwd: redacted(spec.cwd, secrets) }),
    facts: {
      kind: command.kind,
      ...(command.kind !== 'argv' && command.shell !== undefined && { shell: command.shell }),
      ...(names !== '' && { env: names }),
      ...(spec.stdin && { stdin: true }),
      ...(spec.ephemeral && { ephemeral: true }),
      ...(spec.label !== undefined && { label: redacted(spec.label, secrets) }),
    },
  };
}
