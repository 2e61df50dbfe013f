import { failpoint } from '@codex-remote/platform';
import {
  type CancelReply,
  type ExecReport,
  type ExecState,
  type ExecView,
  isEnded,
  type LogSelection,
  reportTailBytes,
  type SignalName,
  type StartReply,
  type VerbReply,
} from '@codex-remote/protocol/schema';
import { type Clock, RemoteError, type Session } from '@codex-remote/protocol/wire';
import { Reach } from '../access/scopes.ts';
import type { History, HistoryEntry, HistoryFilter } from '../history/history.ts';
import type { MachineLink } from '../links/link.ts';
import type { Links } from '../links/links.ts';
import { notBroughtUp } from '../registry/not-brought-up.ts';
import type { MachineRecord, Registry } from '../registry/registry.ts';
import { callAgent, checkCapabilities } from './agent-call.ts';
import type { ExecChanges } from './changes.ts';
import { comesBack, ExecFinder, type Found, resumeWaitMs } from './finder.ts';
import { keptLogs } from './history-logs.ts';
import { relayLogs } from './log-relay.ts';
import type { RequestBody } from './request-body.ts';
import { viewOf } from './view.ts';

/** Where a caller may do what with execs. What is not in `seen` is not there for it. */
export interface ExecRights {
  readonly seen: Reach;
  readonly logs: Reach;
  readonly run: Reach;
  /** What a caller is told that sees an exec and may not do this with it. */
  readonly refuse: (scope: 'logs:read' | 'exec:run', machine: string) => RemoteError;
}

export interface ExecsOptions {
  readonly registry: Registry;
  readonly links: Links;
  readonly history: History;
  readonly changes: ExecChanges;
  readonly clock: Clock;
}

/** Logs of an ended exec that history has only the end of wait so long for a machine that is just reconnecting. */
const endedWaitMs = 20_000;
/** Who waits for several is answered with what was last known of a machine that takes longer than this. */
const answerMs = 2_000;
/** Execs of all machines: asked of the machine while it is connected, answered from history while it is away. */
export class Execs {
  readonly #options: ExecsOptions;
  /** Absent: everything may be done with everything. */
  readonly #rights: ExecRights | undefined;

  readonly #finder: ExecFinder;

  constructor(options: ExecsOptions, rights?: ExecRights) {
    this.#options = options;
    this.#rights = rights;
    this.#finder = new ExecFinder({ ...options, seen: rights?.seen ?? Reach.everything });
  }

  /**
   * The same execs as a caller with these rights has them: what it may not see is in no list, no count and no error, and no
   * prefix is ambiguous by it.
   */
  within(rights: ExecRights): Execs {
    return new Execs(this.#options, rights);
  }

  /**
   * Starts an exec, or attaches to the one that the same id and request already started. Sent again by itself when the
   * connection breaks and the body is small enough to be kept. Throws `machine_offline`, `conflict`, `connection_reset`
   * (with `sent`), `agent_outdated` for an agent without one of the capabilities in `needs`, and what the machine answers.
   * `onSend` is called once, before anything is sent; when it throws nothing is.
   */
  async start(
    machineName: string,
    execId: string,
    body: RequestBody,
    connectWaitMs: number,
    signal: AbortSignal,
    needs: readonly string[] = [],
    onSend?: () => Promise<void>,
  ): Promise<StartReply> {
    const machine = this.#finder.machine(machineName);
    if (!machine.installation) throw notBroughtUp(machine).with({ exec_id: execId });
    const link = this.#options.links.of(machine.name);
    let waitMs = link.patience(connectWaitMs);
    let sent: 'no' | 'unknown' = 'no';
    for (;;) {
      const session = await link.session(waitMs, signal).catch((error: unknown) => {
        throw sent === 'no'
          ? RemoteError.from(error).with({ exec_id: execId, sent })
          : this.#broken(machine.name, execId, RemoteError.from(error));
      });
      try {
        checkCapabilities(link, needs);
        if (sent === 'no') {
          await this.#requireRecord(session, machine.name, execId, signal);
          await onSend?.();
          sent = 'unknown';
        }
        failpoint('controller.start.before');
        const reply = await callAgent(
          session,
          'exec.start',
          { exec_id: execId },
          { signal, body: body.read() },
        );
        failpoint('controller.start.after');
        // Not waited for: the machine reports the exec too, again and again until its end is acknowledged.
        if (!reply.state.ephemeral)
          this.#options.history.record(machine.name, [{ state: reply.state }]).catch(() => undefined);
        return { view: this.#viewOf(machine, link, { state: reply.state }), attached: reply.attached };
      } catch (error) {
        const failure = RemoteError.from(error);
        if (failure.code !== 'connection_reset' || signal.aborted)
          throw failure.with({ machine: machine.name, exec_id: execId, sent: 'yes' });
        if (!body.replayable) throw this.#broken(machine.name, execId, failure);
        waitMs = link.patience(connectWaitMs);
      }
    }
  }

  /** One exec, with `tailBytes` raw bytes of each stream's end. */
  async get(
    idOrPrefix: string,
    machineName: string | undefined,
    tailBytes: number,
    signal: AbortSignal,
  ): Promise<ExecView> {
    const found = await this.#finder.find(idOrPrefix, machineName, signal);
    const { machine, link, execId } = found;
    while (link.live) {
      try {
        return this.#viewNow(found, await this.#finder.report(found, tailBytes, signal));
      } catch (error) {
        // The connection broke while we asked: the next one is asked, or the last known state is the answer.
        if (RemoteError.from(error).code !== 'connection_reset' || signal.aborted) throw error;
      }
    }
    const entry = this.#options.history.get(machine.name, execId);
    if (!entry) throw link.offline().with({ exec_id: execId });
    return this.#viewOf(machine, link, entry.report, entry.as_of);
  }

  /**
   * As `get`, for an exec whose end has just been seen in its log stream: most often the machine has pushed its last
   * report, tails and all, before that, and then it is not asked again.
   */
  async getEnded(execId: string, machineName: string, signal: AbortSignal): Promise<ExecView> {
    const machine = this.#finder.machine(machineName);
    const link = this.#options.links.of(machine.name);
    const report = this.#options.history.get(machine.name, execId)?.report;
    return link.live && report && isWhole(report)
      ? this.#viewOf(machine, link, report)
      : this.get(execId, machine.name, reportTailBytes, signal);
  }

  list(filter: HistoryFilter): { execs: ExecView[]; total: number } {
    if (filter.machine !== undefined) this.#finder.machine(filter.machine);
    const { entries, total } = this.#options.history.list({ ...filter, machines: this.#rights?.seen.names });
    return { total, execs: entries.flatMap((entry) => this.#viewOfEntry(entry) ?? []) };
  }

  /**
   * Log records of one exec into `write`; resolves with the exec as it is then. While the machine is away and the exec is
   * over, the tails that history kept are what there is. `complete`: everything that was selected and there was given.
   */
  async logs(
    idOrPrefix: string,
    machineName: string | undefined,
    select: LogSelection,
    write: (records: Uint8Array) => Promise<void>,
    signal: AbortSignal,
  ): Promise<{ complete: boolean; view: ExecView }> {
    const found = await this.readable(idOrPrefix, machineName, signal);
    const { machine, link, execId, entry } = found;
    if (!link.live && entry && isEnded(entry.report.state)) {
      const kept = keptLogs(entry.report, entry.report.state, select);
      if (kept.complete || !(await comesBack(link, endedWaitMs, signal))) {
        await write(kept.records);
        return {
          complete: kept.complete,
          view: this.#viewOf(machine, link, { state: entry.report.state }, entry.as_of),
        };
      }
    }
    const firstWaitMs = link.patience(resumeWaitMs);
    const relayed = await relayLogs({ link, execId, select, firstWaitMs, resumeWaitMs, signal, write }).catch(
      (error: unknown) => {
        throw RemoteError.from(error).with({ machine: machine.name, exec_id: execId });
      },
    );
    const view = relayed.ended
      ? this.#viewNow(found, { state: relayed.ended })
      : await this.get(execId, machine.name, 0, signal);
    // It ended after what was read: there may be more by now.
    const endedSince = !relayed.ended && isEnded(view.state);
    return { complete: relayed.complete && !endedSince, view };
  }

  /** The machine of an exec whose output, and what is kept of it, this caller may read. */
  async readable(idOrPrefix: string, machineName: string | undefined, signal: AbortSignal): Promise<Found> {
    const found = await this.#finder.find(idOrPrefix, machineName, signal);
    this.#require('logs:read', found);
    return found;
  }

  /** The first event of a watch: the exec as it is now. */
  async attach(
    idOrPrefix: string,
    machineName: string | undefined,
    signal: AbortSignal,
  ): Promise<StartReply> {
    const found = await this.readable(idOrPrefix, machineName, signal);
    await found.link.session(found.link.patience(resumeWaitMs), signal).catch(() => undefined);
    return { view: await this.get(found.execId, found.machine.name, 0, signal), attached: true };
  }

  /**
   * Waits until all (or any) of the execs have ended, or until `maxWaitMs` passed. Nothing polls: reports of the machines
   * wake it, so a machine that goes away and returns changes nothing, and neither does one that has gone silent: it holds
   * up nobody who waits for another.
   */
  async wait(
    ids: readonly string[],
    machineName: string | undefined,
    mode: 'all' | 'any',
    maxWaitMs: number | undefined,
    signal: AbortSignal,
  ): Promise<{ done: boolean; execs: ExecView[] }> {
    const found = await Promise.all(ids.map((id) => this.#finder.find(id, machineName, signal)));
    const over = new Set<Found>();
    const waiting = Promise.withResolvers<boolean>();
    // It may be withdrawn before it is awaited, or after something else has failed.
    waiting.promise.catch(() => undefined);
    const look = (one: Found, state: ExecState | undefined): void => {
      if (state && isEnded(state)) over.add(one);
      if (over.size === found.length || (mode === 'any' && over.size > 0)) waiting.resolve(true);
    };
    const stops = found.map((one) =>
      this.#options.changes.listen(one.machine.name, one.execId, (state) => look(one, state)),
    );
    const timer =
      maxWaitMs === undefined
        ? undefined
        : this.#options.clock.setTimer(maxWaitMs, () => waiting.resolve(false));
    const gone = AbortSignal.any([signal, ...new Set(found.map(({ link }) => link.gone))]);
    const withdraw = (): void =>
      waiting.reject(signal.aborted ? new RemoteError('cancelled', 'the caller went away') : gone.reason);
    if (gone.aborted) withdraw();
    else gone.addEventListener('abort', withdraw);
    const asking = new AbortController();
    try {
      // After the listeners are in place: an end between the two would be missed otherwise. An end is final: who has
      // ended is not asked.
      for (const one of found) look(one, this.#known(one)?.state);
      const asked = found.filter((one) => !over.has(one));
      for (const one of asked)
        this.get(one.execId, one.machine.name, 0, asking.signal).then(
          ({ state }) => look(one, state),
          waiting.reject,
        );
      const done = await waiting.promise;
      asking.abort();
      return { done, execs: await Promise.all(found.map((one) => this.#viewSoon(one, signal))) };
    } finally {
      asking.abort();
      timer?.cancel();
      gone.removeEventListener('abort', withdraw);
      for (const stop of stops) stop();
    }
  }

  /** Sent again by itself when the connection breaks: cancelling twice is cancelling once. */
  async cancel(
    idOrPrefix: string,
    machineName: string | undefined,
    request: { signal: SignalName; grace_ms: number },
    connectWaitMs: number,
    abort: AbortSignal,
  ): Promise<CancelReply> {
    const found = await this.#finder.find(idOrPrefix, machineName, abort);
    this.#require('exec:run', found);
    const { machine, link, entry } = found;
    if (!link.live && entry && isEnded(entry.report.state)) {
      return {
        view: this.#viewOf(machine, link, entry.report, entry.as_of),
        already_finished: true,
        leftover_pids: [],
      };
    }
    let waitMs = link.patience(connectWaitMs);
    for (;;) {
      const session = await link.session(waitMs, abort).catch((error: unknown) => {
        throw RemoteError.from(error).with({ exec_id: found.execId });
      });
      try {
        const reply = await callAgent(
          session,
          'exec.cancel',
          { exec_id: found.execId, ...request },
          { signal: abort },
        );
        return {
          view: this.#viewNow(found, { state: reply.state }),
          already_finished: reply.already_finished,
          leftover_pids: reply.leftover_pids,
        };
      } catch (error) {
        if (RemoteError.from(error).code !== 'connection_reset' || abort.aborted) throw error;
        waitMs = link.patience(connectWaitMs);
      }
    }
  }

  /** What the agent says of itself. Throws `machine_offline`, `connection_reset`. */
  async info(machineName: string, signal: AbortSignal): Promise<VerbReply<'agent.info'>> {
    const session = await this.#options.links.of(this.#finder.machine(machineName).name).session(0, signal);
    return callAgent(session, 'agent.info', {}, { signal });
  }

  /** Throws `unknown_machine`. */
  machine(name: string): MachineRecord {
    return this.#finder.machine(name);
  }

  #require(scope: 'logs:read' | 'exec:run', { machine }: Found): void {
    const rights = this.#rights;
    const reach = scope === 'exec:run' ? rights?.run : rights?.logs;
    if (rights && !reach?.has(machine.name)) throw rights.refuse(scope, machine.name);
  }

  /** Without the tails, and what its artifacts are, where the caller may not read logs. */
  #viewOf(machine: MachineRecord, link: MachineLink, report: ExecReport, asOf?: string): ExecView {
    const readable = this.#rights?.logs.has(machine.name) ?? true;
    return viewOf(machine, link, readable ? report : { state: withoutFiles(report.state) }, asOf);
  }

  /**
   * What the machine has just said. Output of an exec that has ended and still has writers grows, and nothing more is reported
   * of it: history takes it from here, and no later answer from there knows less.
   */
  #viewNow({ machine, link }: Found, report: ExecReport): ExecView {
    const { state } = report;
    if (isEnded(state) && state.writers_remaining && !state.ephemeral)
      this.#options.history.record(machine.name, [report]).catch(() => undefined);
    return this.#viewOf(machine, link, report);
  }

  #known({ machine, execId }: Found): ExecReport | undefined {
    return this.#options.history.get(machine.name, execId)?.report;
  }

  /** As `get` with tails; where the machine does not answer soon, what was last known. */
  async #viewSoon(one: Found, signal: AbortSignal): Promise<ExecView> {
    const { machine, link, execId } = one;
    const known = this.#options.history.get(machine.name, execId);
    if (known && isWhole(known.report)) return this.#viewOf(machine, link, known.report, known.as_of);
    const late = new AbortController();
    const timer = this.#options.clock.setTimer(answerMs, () => late.abort());
    try {
      return await this.get(execId, machine.name, reportTailBytes, AbortSignal.any([signal, late.signal]));
    } catch (error) {
      if (!known || !late.signal.aborted || signal.aborted) throw error;
      return this.#viewOf(machine, link, known.report, known.as_of);
    } finally {
      timer.cancel();
    }
  }

  /**
   * An id that history knows was accepted once. Where the machine has neither its folder nor its tombstone any more, it
   * cannot tell, and would run it again: throws `exec_removed`.
   */
  async #requireRecord(
    session: Session,
    machine: string,
    execId: string,
    signal: AbortSignal,
  ): Promise<void> {
    if (!this.#options.history.get(machine, execId)) return;
    try {
      await callAgent(session, 'exec.get', { exec_id: execId, tail_bytes: 0 }, { signal });
    } catch (error) {
      const failure = RemoteError.from(error);
      if (failure.code !== 'exec_not_found') throw failure;
      if (failure.details.facts?.removed_at !== undefined) return;
      throw new RemoteError(
        'exec_removed',
        `the record of exec ${execId} on ${machine} is gone: an id that was accepted never runs again`,
        {
          sent: 'no',
          hint: `choose another id; \`codex-remote exec list -m ${machine}\` has what was last known of it`,
        },
        failure,
      );
    }
  }

  #viewOfEntry(entry: HistoryEntry): ExecView | undefined {
    const machine = this.#options.registry.get(entry.machine);
    return (
      machine &&
      this.#viewOf(
        machine,
        this.#options.links.of(machine.name),
        { state: withoutFiles(entry.report.state) },
        entry.as_of,
      )
    );
  }

  #broken(machine: string, execId: string, cause: RemoteError): RemoteError {
    return new RemoteError(
      'connection_reset',
      `connection reset by peer: ${machine} went away while the request was sent`,
      {
        machine,
        exec_id: execId,
        sent: 'unknown',
        hint: `\`codex-remote machine check -m ${machine}\`, then \`codex-remote exec result --id ${execId}\``,
      },
      cause,
    );
  }
}

/** The last report of an exec: its end with both tails, and nobody who could still write. */
function isWhole({ state, stdout_tail, stderr_tail }: ExecReport): boolean {
  return isEnded(state) && !state.writers_remaining && stdout_tail !== undefined && stderr_tail !== undefined;
}

/** How many artifacts there are and how large is no more than how much output there is. */
function withoutFiles(state: ExecState): ExecState {
  if (!isEnded(state) || !state.artifacts) return state;
  const { count, bytes } = state.artifacts;
  return { ...state, artifacts: { files: [], count, bytes } };
}
