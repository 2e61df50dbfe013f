import { resolve } from 'node:path';
import { answerOf } from '@codex-remote/client';
import {
  ArtifactClient,
  bytesOfPath,
  Destination,
  type Fate,
  fetchArtifacts,
} from '@codex-remote/client/artifacts';
import type { ArtifactFile, ArtifactsState, ExecView } from '@codex-remote/protocol/schema';
import type { Context } from '../../context.ts';
import { exitCodes } from '../../exit.ts';
import { shellQuote } from '../../shell-quote.ts';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { flagSwitch, one } from '../../table/flag.ts';
import { connectWait, defaultConnectWaitMs, machineFlag, oneId } from '../../table/shared.ts';
import * as read from '../../table/values.ts';

import { idOf } from './address.ts';
import { oneLineOf, table, textOf } from './render.ts';

const defaultLimit = 1000;

export const execArtifacts = command({
  name: 'exec artifacts',
  summary: 'List what an exec kept (--artifact), or fetch it into a folder.',
  description:
    'It is there once the exec has ended, and for as long as the exec is. With --dst each file comes whole, with its SHA-256 compared; what is there already is left, so the same line again goes on. Nothing is written outside of the folder or to .git.',
  flags: {
    id: oneId,
    machine: machineFlag,
    dst: one(read.nonEmpty, 'DIR', 'fetch all of it into this folder, made where missing'),
    force: flagSwitch('replace files there that differ'),
    'allow-autorun': flagSwitch('also what acts by itself: .envrc, hooks, editor and agent settings'),
    limit: one(read.count, 'N', `name at most so many files (default ${defaultLimit})`),
    'connect-wait': connectWait,
  },
  positional: 'id',
  examples: [
    ['what there is', 'exec artifacts --id ID'],
    ['all of it, here', 'exec artifacts --id ID --dst ./results'],
  ],
  async run(values, context) {
    const id = idOf('exec artifacts', values.id);
    const { dst, limit = defaultLimit, force = false, 'allow-autorun': autorun = false } = values;
    if (dst === undefined && (force || autorun))
      throw usage({ name: 'exec artifacts' }, `--${force ? 'force' : 'allow-autorun'} needs --dst DIR`);
    const view = await context.client.exec({ id, machine: values.machine }, 0);
    const connectWaitMs = values['connect-wait'] ?? defaultConnectWaitMs;
    const kept = await keptOf(view, connectWaitMs, context);
    if (dst === undefined)
      return { value: listed(view, kept, limit, context), exit: 0, human: () => listText(view, kept, limit) };
    const fates = await fetched(view, kept, { dst, force, autorun, connectWaitMs }, context);
    const got = sorted(kept.files, fates);
    const left = got.refused.length + got.held_back.length;
    const next = nextOf(view, dst, got);
    const value = {
      ...listed(view, kept, limit, context),
      dst: resolve(context.cwd, dst),
      fetched: got.fetched,
      unchanged: got.unchanged,
      ...(got.refused.length > 0 && { refused: got.refused }),
      ...(got.held_back.length > 0 && { held_back: got.held_back }),
      ...(next !== undefined && { next_command: next }),
    };
    return {
      value,
      exit: left > 0 ? exitCodes.failed : 0,
      human: () =>
        textOf(
          `${got.fetched} fetched into ${value.dst}, ${got.unchanged} there already`,
          ...[...got.refused, ...got.held_back].map(
            (one) => `not written: ${bytesOfPath(one).toString()} (${one.why})`,
          ),
          ...(next === undefined ? [] : [`next: ${next}`]),
        ),
    };
  },
});

type Kept = Partial<Omit<ArtifactsState, 'files'>> & { readonly files: readonly ArtifactFile[] };

/** All that is kept; the state names the first of it. */
async function keptOf({ state, machine }: ExecView, connectWaitMs: number, context: Context): Promise<Kept> {
  const kept = state.status === 'finished' || state.status === 'lost' ? state.artifacts : undefined;
  if (!kept) return { files: [] };
  if (kept.files.length === kept.count) return kept;
  const client = new ArtifactClient(context.client.connection, context.clock);
  const of = { id: state.exec_id, machine, connectWaitMs };
  return { ...kept, files: await client.list(of, { signal: context.output.readerGone }) };
}

function listed(
  view: ExecView,
  { files, count = 0, bytes = 0, ...rest }: Kept,
  limit: number,
  { clock }: Context,
) {
  const answer = answerOf(view, { now: clock.wall(), tails: 'none' });
  const { ok, machine, exec_id, status, exit_code, settling, next_action, next_command } = answer;
  return {
    ...{ ok, machine, exec_id, status, exit_code, ...(settling && { settling }), next_action },
    ...(next_command !== undefined && { next_command }),
    ...{ count, bytes, files: files.slice(0, limit), ...(count > limit && { more: true }) },
    ...rest,
  };
}

function listText(view: ExecView, { files, count = 0, skipped = [], error }: Kept, limit: number): string {
  const rows = files
    .slice(0, limit)
    .map((file) => [String(file.size), file.sha256.slice(0, 12), bytesOfPath(file).toString()]);
  const lines = [
    ...(count > limit ? [`there are more, ${count} in all: --limit ${count}`] : []),
    ...skipped.map((one) => `left out: ${bytesOfPath(one).toString()} (${one.why})`),
    ...(error === undefined ? [] : [error]),
  ];
  const shown =
    rows.length === 0
      ? textOf(`${oneLineOf(view)}; nothing is kept`)
      : table(['SIZE', 'SHA-256', 'PATH'], rows);
  return lines.length === 0 ? shown : `${shown}\n${textOf(...lines)}`;
}

interface Order {
  readonly dst: string;
  readonly force: boolean;
  readonly autorun: boolean;
  readonly connectWaitMs: number;
}

const endings = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** A signal that ends us leaves nothing half. */
async function fetched(
  { state, machine }: ExecView,
  { files }: Kept,
  order: Order,
  context: Context,
): Promise<Fate[]> {
  const destination = await Destination.open(resolve(context.cwd, order.dst));
  const onSignal = (signal: NodeJS.Signals): void => {
    destination.discard();
    process.kill(process.pid, signal);
  };
  for (const signal of endings) process.once(signal, onSignal);
  try {
    return await fetchArtifacts(
      new ArtifactClient(context.client.connection, context.clock),
      destination,
      { ...order, id: state.exec_id, machine, files },
      { signal: context.output.readerGone },
    );
  } finally {
    for (const signal of endings) process.off(signal, onSignal);
    destination.discard();
  }
}

function sorted(files: readonly ArtifactFile[], fates: readonly Fate[]) {
  const named = (kind: 'refused' | 'held_back') =>
    files.flatMap(({ path, path_b64 }, index) => {
      const fate = fates[index];
      if (fate?.kind !== kind) return [];
      return [{ ...(path === undefined ? { path_b64 } : { path }), why: fate.why }];
    });
  const countOf = (kind: Fate['kind']): number => fates.filter((fate) => fate.kind === kind).length;
  return {
    fetched: countOf('fetched'),
    unchanged: countOf('same'),
    refused: named('refused'),
    held_back: named('held_back'),
  };
}

/** The line that fetches what this one has left, where a flag does that. */
function nextOf(
  { state }: ExecView,
  dst: string,
  { refused, held_back }: ReturnType<typeof sorted>,
): string | undefined {
  const flags = [
    ...(refused.some(({ why }) => why === 'exists') ? ['--force'] : []),
    ...(held_back.length > 0 ? ['--allow-autorun'] : []),
  ];
  if (flags.length === 0) return undefined;
  return `codex-remote exec artifacts --id ${state.exec_id} --dst ${shellQuote(dst)} ${flags.join(' ')}`;
}
