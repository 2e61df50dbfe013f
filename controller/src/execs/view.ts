import type { ExecReport, ExecView, StreamTail } from '@codex-remote/protocol/schema';
import type { MachineLink } from '../links/link.ts';
import type { MachineRecord } from '../registry/registry.ts';

/** An exec as the answer to a caller. `asOf`: when the report was true, for a machine that is away. */
export function viewOf(
  machine: MachineRecord,
  link: MachineLink,
  report: ExecReport,
  asOf?: string,
): ExecView {
  const connected = link.live !== undefined;
  return {
    machine: machine.name,
    machine_connected: connected,
    ...(!connected && asOf !== undefined ? { as_of: asOf } : {}),
    ssh_ok: machine.ssh_ok ?? null,
    ...(machine.ssh_checked_at === undefined ? {} : { ssh_checked_at: machine.ssh_checked_at }),
    state: report.state,
    ...(report.stdout_tail ? { stdout_tail: base64Tail(report.stdout_tail) } : {}),
    ...(report.stderr_tail ? { stderr_tail: base64Tail(report.stderr_tail) } : {}),
  };
}

function base64Tail(tail: StreamTail): NonNullable<ExecView['stdout_tail']> {
  return { from: tail.from, base64: Buffer.from(tail.bytes).toString('base64') };
}
