import { isUtf8 } from 'node:buffer';
import { answerOf, DiffClient, oneLine } from '@codex-remote/client';
import type { ChangedFile, DiffHead, ExecView } from '@codex-remote/protocol/schema';
import type { Context } from '../../context.ts';
import type { Outcome } from '../../outcome.ts';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { flagSwitch, one } from '../../table/flag.ts';
import { machineFlag, oneId } from '../../table/shared.ts';
import * as read from '../../table/values.ts';
import { wholeText } from '../../whole-text.ts';
import { idOf } from './address.ts';
import { shownChange, shownStat } from './changed-file.ts';

/** Of the patch in an answer: what is given where nothing is said, and the most. */
const defaultPatchBytes = 1024 * 1024;
const maxPatchBytes = 16 * 1024 * 1024;
/** Files in an answer. */
const maxFiles = 1000;

export const execDiff = command({
  name: 'exec diff',
  summary: 'Show what an exec changed in its worktree, as files and as a patch.',
  description:
    'Against the commit that it started from; ignored files are left out, and so is .git. While it runs: as it is now (final:false). JSON has at most 1 MiB of the patch (patch, patch_b64 where it is not UTF-8); --raw gives all of any size, for git apply.',
  flags: {
    id: oneId,
    machine: machineFlag,
    stat: flagSwitch('only the files, with their sizes and lines'),
    'max-bytes': one(read.bytes, 'N', 'of the patch in JSON (default 1M, at most 16M)'),
  },
  positional: 'id',
  examples: [
    ['the files', 'exec diff --id ID --stat'],
    ['the patch as git writes it', 'exec diff --id ID --raw'],
  ],
  async run(values, context) {
    const id = idOf('exec diff', values.id);
    const { client, clock, output } = context;
    const limit = values['max-bytes'] ?? defaultPatchBytes;
    if (limit > maxPatchBytes) throw usage({ name: 'exec diff' }, '--max-bytes is at most 16M: take --raw');
    if (values.stat && output.mode === 'raw')
      throw usage({ name: 'exec diff' }, '--stat and --raw exclude each other');
    const view = await client.exec({ id, machine: values.machine }, 0);
    const address = { id: view.state.exec_id, machine: view.machine };
    const diffs = new DiffClient(client.connection, clock);
    const signal = output.readerGone;
    const { head, files } = await diffs.files(address, { signal });
    const patch = () => diffs.patch(address, head.result, { signal });
    if (output.mode !== 'raw')
      return answer(context, view, { head, files, limit, ...(!values.stat && { patch }) });
    for await (const bytes of patch()) await output.write(bytes);
    return { exit: 0, human: () => '' };
  },
});

interface Diff {
  readonly head: DiffHead;
  readonly files: readonly ChangedFile[];
  readonly limit: number;
  /** Absent: it is not wanted. */
  readonly patch?: () => AsyncIterable<Uint8Array>;
}

async function answer(
  { clock }: Context,
  view: ExecView,
  { head, files, limit, patch }: Diff,
): Promise<Outcome> {
  const { tree, commit, result, running, skipped } = head;
  const read = patch && (await beginning(patch(), limit));
  const value = {
    ...answerOf(view, { now: clock.wall(), tails: 'none' }),
    ...{ commit, tree, result, final: !running },
    ...(skipped !== undefined && { skipped }),
    files: files.slice(0, maxFiles).map(shownChange),
    files_total: files.length,
    ...(read &&
      (isUtf8(read.bytes) ? { patch: read.bytes.toString() } : { patch_b64: read.bytes.toString('base64') })),
    ...(read && { complete: read.complete }),
    ...(read?.complete === false && {
      next_command: `codex-remote exec diff --id ${view.state.exec_id} --raw`,
    }),
  };
  const human = () => {
    const now = running
      ? [oneLine(`${view.state.exec_id} is still running: this is its worktree of now`)]
      : [];
    const text = read?.bytes.toString().replace(/\n$/, '');
    return [...now, ...shownStat(files), ...(text ? ['', text] : [])].join('\n');
  };
  return { value, exit: 0, human };
}

/** At most `limit` bytes; text is not cut within a character. */
async function beginning(
  patch: AsyncIterable<Uint8Array>,
  limit: number,
): Promise<{ bytes: Buffer; complete: boolean }> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of patch) {
    pieces.push(piece);
    bytes += piece.byteLength;
    if (bytes > limit) return { bytes: wholeText(Buffer.concat(pieces).subarray(0, limit)), complete: false };
  }
  return { bytes: Buffer.concat(pieces), complete: true };
}
