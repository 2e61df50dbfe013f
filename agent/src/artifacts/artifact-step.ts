import { realpath } from 'node:fs/promises';
import { posix } from 'node:path';
import {
  type ArtifactsState,
  maxSkippedArtifactBytes,
  maxSkippedArtifacts,
  type SkippedArtifact,
} from '@codex-remote/protocol/schema';
import type { Clock } from '@codex-remote/protocol/wire';
import type { CutReason, EndedJob, Settled, SettleStep } from '../exec/settle.ts';
import { errnoOf } from '../files/file-error.ts';
import { textField } from '../files/path.ts';
import { findMatches, type Match } from './find.ts';
import { parseGlobs } from './glob.ts';
import { KeptArtifacts, keptPath, keptState } from './kept.ts';
import type { ArtifactLimits } from './limits.ts';
import { LocalFolders } from './local-folders.ts';
import { hasRunnerList, hasRunnerListHere, type RunnerEntry, readRunnerList } from './runner-list.ts';
import { Slots } from './slots.ts';
import { takeFile } from './take-file.ts';

/** An answer that takes longer is not waited for: an exec without artifacts is not held up by a file system. */
const lookMs = 500;
/** Of those whose answer did not come: a thread of this process each. No more is asked while there are so many. */
const maxHanging = 2;
/** Execs whose artifacts are taken at the same time. */
const atOnce = 2;

/** Keeps, when an exec ends, what it was asked to keep of its working directory. */
export class ArtifactStep implements SettleStep {
  readonly name = 'artifacts';
  readonly #clock: Clock;
  readonly #limits: ArtifactLimits;
  readonly #slots = new Slots(atOnce);
  readonly #local = new LocalFolders();
  #hanging = 0;

  constructor(clock: Clock, limits: ArtifactLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  isNeeded(job: EndedJob): boolean | Promise<boolean> {
    if (job.spec.ephemeral) return false;
    // A list is the last word of a job: one whose end nobody saw has had none.
    return job.spec.artifacts !== undefined || (job.end.status === 'finished' && this.#hasList(job));
  }

  async settle({ folder, spec }: EndedJob, signal: AbortSignal): Promise<Settled> {
    const before = await keptState(folder.path);
    if (before) return { artifacts: before };
    const leave = await this.#slots.enter(signal);
    if (!leave) return { artifacts: nothing(shortage(signal)) };
    try {
      const artifacts = await collect(folder.path, spec, this.#limits, signal);
      return artifacts ? { artifacts } : {};
    } finally {
      leave();
    }
  }

  #hasList({ spec: { cwd, worktree }, identity }: EndedJob): boolean | Promise<boolean> {
    // A worktree of its own has nothing of an earlier one.
    const fresh = worktree !== undefined && worktree.workspace === undefined;
    const sinceMs = fresh ? undefined : identity.started_ms;
    if (this.#local.has(cwd)) return hasRunnerListHere(cwd, sinceMs);
    return this.#hasListSoon(cwd, sinceMs);
  }

  async #hasListSoon(cwd: string, sinceMs: number | undefined): Promise<boolean> {
    if (this.#hanging >= maxHanging) return false;
    const { promise, resolve } = Promise.withResolvers<'late'>();
    const timer = this.#clock.setTimer(lookMs, () => resolve('late'));
    const look = hasRunnerList(cwd, sinceMs);
    const found = await Promise.race([look, promise]);
    timer.cancel();
    if (found !== 'late') {
      void this.#local.learn(cwd);
      return found;
    }
    this.#hanging++;
    void look.then(() => this.#hanging--);
    return false;
  }
}

interface Wanted {
  readonly cwd: string;
  readonly artifacts?: readonly string[] | undefined;
}

/** Undefined where nothing was asked for. Throws where the agent stops. */
async function collect(
  execFolder: string,
  { cwd, artifacts: globs = [] }: Wanted,
  limits: ArtifactLimits,
  signal: AbortSignal,
): Promise<ArtifactsState | undefined> {
  const list = await readRunnerList(cwd);
  const skipped = new Skipped();
  const entries = (list?.entries ?? []).flatMap((entry) => {
    const path = insideOf(cwd, entry.path);
    if (path === undefined) skipped.add(Buffer.from(entry.path), 'outside');
    return path === undefined ? [] : [{ ...entry, path }];
  });
  if (globs.length === 0 && !list?.error && list?.entries.length === 0) return undefined;
  let kept: KeptArtifacts | undefined;
  let error = list?.error;
  try {
    kept = await KeptArtifacts.begin(execFolder);
    try {
      const root = await realpath(cwd, { encoding: 'buffer' });
      await takeAll({ root, globs, entries, limits, signal, skipped, kept });
    } catch (failure) {
      if (signal.reason === ('stop' satisfies CutReason)) throw failure;
      error = signal.aborted ? shortage(signal) : whyNot(failure);
    }
    const rest = {
      ...skipped.state(),
      ...(list && { manifest: 'codex-runner' as const }),
      ...(error !== undefined && { error }),
    };
    return await kept.finish(rest, signal);
  } catch (failure) {
    await kept?.drop();
    if (signal.reason === ('stop' satisfies CutReason)) throw failure;
    return nothing(whyNot(failure));
  }
}

interface Taking {
  readonly root: Buffer;
  readonly globs: readonly string[];
  readonly entries: readonly RunnerEntry[];
  readonly limits: ArtifactLimits;
  readonly signal: AbortSignal;
  readonly skipped: Skipped;
  readonly kept: KeptArtifacts;
}

async function takeAll({ root, globs, entries, limits, signal, skipped, kept }: Taking): Promise<void> {
  const paths = entries.map(({ path }) => path);
  const goesOn = (): void => signal.throwIfAborted();
  const found = new Set<number>();
  for await (const match of findMatches(root, parseGlobs(globs, paths), goesOn)) {
    for (const glob of match.globs) found.add(glob);
    const taken = await take(match);
    if (typeof taken === 'string') {
      skipped.add(match.path, taken);
      continue;
    }
    const path = textField('path', match.path);
    const { name, type } = entries.find((entry) => entry.path === path.path) ?? {};
    const called = { ...(name !== undefined && { name }), ...(type !== undefined && { type }) };
    await kept.add({ ...path, ...taken, ...called }, keptPath(kept.folder, match.path));
  }
  for (const [index, glob] of [...globs, ...paths].entries())
    if (!found.has(index)) skipped.add(Buffer.from(glob), 'no_match');

  async function take({ path, kind }: Match) {
    if (kind !== 'file') return kind;
    if (kept.count >= limits.maxFiles) return 'too_many';
    const maxBytes = limits.maxBytes - kept.bytes;
    const { reserveBytes } = limits;
    return takeFile({ root, path, to: keptPath(kept.folder, path), maxBytes, reserveBytes, goesOn });
  }
}

/** From the working directory; undefined where it leads out of it. */
function insideOf(cwd: string, path: string): string | undefined {
  const inside = posix.normalize(posix.isAbsolute(path) ? posix.relative(cwd, path) : path);
  return inside === '..' || inside.startsWith('../') || inside.includes('\0') ? undefined : inside;
}

/** The first of what is left out, and how many there are. */
class Skipped {
  readonly #first: SkippedArtifact[] = [];
  #count = 0;
  #bytes = 0;

  add(path: Uint8Array, why: string): void {
    this.#count++;
    this.#bytes += path.byteLength;
    if (this.#count <= maxSkippedArtifacts && this.#bytes <= maxSkippedArtifactBytes)
      this.#first.push({ ...textField('path', path), why });
  }

  state(): Pick<ArtifactsState, 'skipped' | 'skipped_count'> {
    return this.#count === 0 ? {} : { skipped: this.#first, skipped_count: this.#count };
  }
}

function nothing(error: string): ArtifactsState {
  return { files: [], count: 0, bytes: 0, error };
}

function shortage({ reason }: AbortSignal): string {
  return (reason as CutReason) === 'cancel'
    ? 'a cancel cut it short: there may be more'
    : 'the time for it was over: there may be more';
}

function whyNot(error: unknown): string {
  const errno = errnoOf(error);
  if (errno === 'ENOSPC' || errno === 'EDQUOT') return 'the disk of the machine is full';
  if (errno === undefined) return String(error).slice(0, 500);
  return `the working directory cannot be read (${errno})`;
}
