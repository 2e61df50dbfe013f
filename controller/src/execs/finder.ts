import type { ExecReport } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Reach } from '../access/scopes.ts';
import type { History, HistoryEntry } from '../history/history.ts';
import type { MachineLink } from '../links/link.ts';
import type { Links } from '../links/links.ts';
import { unknownMachine } from '../registry/nearest.ts';
import type { MachineRecord, Registry } from '../registry/registry.ts';
import { callAgent } from './agent-call.ts';

/** A reader by position waits so long for a machine that went away in the middle of its stream. */
export const resumeWaitMs = 30_000;
/** An id that history does not know waits so long for machines that are just reconnecting. */
const findWaitMs = 5_000;
/** Matches shown when a prefix is ambiguous. */
const ambiguousLimit = 5;

/** An exec and the machine that has it. */
export interface Found {
  readonly machine: MachineRecord;
  readonly link: MachineLink;
  readonly execId: string;
  readonly entry: HistoryEntry | undefined;
}

export interface ExecFinderOptions {
  readonly registry: Registry;
  readonly links: Links;
  readonly history: History;
  /** What is not in it is not there. */
  readonly seen: Reach;
}

/** Which machine has an exec: as history knows it, else as the machines themselves do. */
export class ExecFinder {
  readonly #options: ExecFinderOptions;

  constructor(options: ExecFinderOptions) {
    this.#options = options;
  }

  /** Throws `unknown_machine`. */
  machine(name: string): MachineRecord {
    const machine = this.#machines().find((known) => known.name === name);
    if (!machine)
      throw unknownMachine(
        name,
        this.#machines().map((other) => other.name),
      );
    return machine;
  }

  #machines(): readonly MachineRecord[] {
    const { registry, seen } = this.#options;
    return registry.list().filter(({ name }) => seen.has(name));
  }

  /** An id or a unique prefix of one. Asks the machines themselves for what history does not know. */
  async find(idOrPrefix: string, machineName: string | undefined, signal: AbortSignal): Promise<Found> {
    const named = machineName === undefined ? undefined : this.machine(machineName);
    const machines = named ? [named.name] : this.#options.seen.names;
    const entries = this.#options.history.find(idOrPrefix, machines, ambiguousLimit);
    if (entries.length > 1)
      throw ambiguous(
        idOrPrefix,
        entries.map(({ machine, report }) => `${report.state.exec_id} on ${machine}`),
      );
    const [entry] = entries;
    if (entry) {
      const machine = this.machine(entry.machine);
      return {
        machine,
        link: this.#options.links.of(machine.name),
        execId: entry.report.state.exec_id,
        entry,
      };
    }
    return this.#findThere(idOrPrefix, named, signal);
  }

  /** Asks the machine, or all of them: an exec that was accepted just before this controller started is known only there. */
  async #findThere(execId: string, named: MachineRecord | undefined, signal: AbortSignal): Promise<Found> {
    const { links } = this.#options;
    const asked = await Promise.all(
      (named ? [named] : this.#machines().filter(({ installation }) => installation)).map(async (machine) => {
        const found: Found = { machine, link: links.of(machine.name), execId, entry: undefined };
        if (!(await comesBack(found.link, findWaitMs, signal))) return { found, answer: 'away' as const };
        return this.report(found, 0, signal).then(
          () => ({ found, answer: 'here' as const }),
          (error: unknown) => {
            const { code } = RemoteError.from(error);
            if (code === 'exec_not_found') return { found, answer: 'unknown' as const };
            if (code === 'connection_reset' || code === 'machine_offline')
              return { found, answer: 'away' as const };
            // Whatever is wrong with this one, another may have it.
            return { found, answer: 'failed' as const, error };
          },
        );
      }),
    );
    const here = asked.filter(({ answer }) => answer === 'here').map(({ found }) => found);
    const away = asked.filter(({ answer }) => answer === 'away').map(({ found }) => found);
    if (here[0] && here.length === 1) return here[0];
    if (here.length > 1)
      throw ambiguous(
        execId,
        here.map(({ machine }) => `${execId} on ${machine.name}`),
      );
    const failed = asked.find((one) => one.answer === 'failed');
    if (failed) throw failed.error;
    if (named && away[0]) throw away[0].link.offline().with({ exec_id: execId });
    throw notFound(
      execId,
      named?.name,
      away.map(({ machine }) => machine.name),
    );
  }

  /** What the machine itself has of it now. Throws `machine_offline`, `connection_reset`, and what it answers. */
  async report(found: Found, tailBytes: number, signal: AbortSignal): Promise<ExecReport> {
    const session = await found.link.session(found.link.patience(resumeWaitMs), signal);
    return callAgent(session, 'exec.get', { exec_id: found.execId, tail_bytes: tailBytes }, { signal });
  }
}

/** Whether the machine is connected, or is within `waitMs` where it is just reconnecting. Throws `cancelled`. */
export async function comesBack(link: MachineLink, waitMs: number, signal: AbortSignal): Promise<boolean> {
  try {
    await link.session(link.patience(waitMs), signal);
    return true;
  } catch (error) {
    if (RemoteError.from(error).code === 'machine_offline') return false;
    throw error;
  }
}

function ambiguous(prefix: string, matches: readonly string[]): RemoteError {
  return new RemoteError('ambiguous_id', `${prefix} matches more than one exec: ${matches.join(', ')}`, {
    hint: 'give more of the id, or `--machine`',
    facts: { matches },
  });
}

/** `away`: machines that may know it and could not be asked. */
function notFound(execId: string, machine: string | undefined, away: readonly string[]): RemoteError {
  const where = machine === undefined ? 'any machine' : machine;
  return new RemoteError(
    'exec_not_found',
    `exec_id not found: ${execId.slice(0, 64)} is not known on ${where}`,
    {
      exec_id: execId.slice(0, 64),
      ...(machine === undefined ? {} : { machine }),
      hint:
        away.length === 0
          ? '`codex-remote exec list` shows the execs that are known'
          : `${away.slice(0, 5).join(', ')} could not be asked: away; \`codex-remote exec list\` shows the execs that are known`,
      ...(away.length === 0 ? {} : { facts: { away } }),
    },
  );
}
