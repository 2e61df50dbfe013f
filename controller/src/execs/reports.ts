import { failpoint } from '@codex-remote/platform';
import { type ExecReport, isEnded, reportsFromAgent } from '@codex-remote/protocol/schema';
import { type Channel, RemoteError, type Session } from '@codex-remote/protocol/wire';
import type { History } from '../history/history.ts';
import type { ExecChanges } from './changes.ts';
import { unreported } from './reconcile.ts';

/**
 * Keeps history equal to what the machine says, for as long as the session lasts: first everything running or not yet
 * acknowledged, then what history has as going on and the machine did not name, then every change. An end is acknowledged
 * only when it is on our disk.
 * A report that breaks the schema ends the session with `protocol_error`: what a machine says is untrusted.
 */
export async function followReports(
  session: Session,
  machine: string,
  history: History,
  changes: ExecChanges,
): Promise<void> {
  const channel = session.open('exec.reports', {});
  const reported = new Set<string>();
  let snapshot = true;
  const take = (reports: readonly ExecReport[]): void =>
    takeReports(channel, machine, reports, history, changes);
  for (;;) {
    const item = await channel.receive();
    if (!item) return;
    const message = item.kind === 'message' ? reportsFromAgent.safeParse(item.value) : undefined;
    if (!message?.success) {
      session.end(
        new RemoteError('protocol_error', `a report of ${machine} has not the expected shape`, { machine }),
      );
      return;
    }
    if ('reports' in message.data) {
      take(message.data.reports);
      if (snapshot) for (const { state } of message.data.reports) reported.add(state.exec_id);
    } else if (snapshot) {
      snapshot = false;
      // Beside the changes that come meanwhile. A connection that breaks leaves the rest to the next one.
      void takeUnreported(session, machine, history, reported, take).catch(() => undefined);
    }
  }
}

async function takeUnreported(
  session: Session,
  machine: string,
  history: History,
  reported: Set<string>,
  take: (reports: readonly ExecReport[]) => void,
): Promise<void> {
  for await (const report of unreported(session, machine, history, reported)) take([report]);
  reported.clear();
}

function takeReports(
  channel: Channel,
  machine: string,
  reports: readonly ExecReport[],
  history: History,
  changes: ExecChanges,
): void {
  const kept = reports.filter(({ state }) => !state.ephemeral);
  const stored = kept.length > 0 ? history.record(machine, kept) : Promise.resolve();
  const ended = reports.filter(({ state }) => isEnded(state)).map(({ state }) => state.exec_id);
  // What could not be stored is not acknowledged: the machine keeps it and reports it again on its next connection.
  const acknowledge = async (): Promise<void> => {
    if (ended.length === 0 || failpoint('controller.acknowledge.before')) return;
    await channel.send({ ack: ended });
    failpoint('controller.acknowledge.after');
  };
  stored.then(acknowledge).catch(() => undefined);
  for (const { state } of reports) changes.publish(machine, state);
}
