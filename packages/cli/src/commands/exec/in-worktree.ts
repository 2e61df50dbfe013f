import { isAbsolute, resolve } from 'node:path';
import { oneLine, ProjectClient, type StartRequest } from '@codex-remote/client';
import { bring, GitClient, Repository, SnapshotStore, worktreeRef } from '@codex-remote/client/git';
import type { ProjectView, WorktreeSpec } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Context } from '../../context.ts';
import { Watchdog } from '../../signals.ts';
import { usage } from '../../table/bind.ts';
import * as read from '../../table/values.ts';
import type { Prepared, WorktreeValues } from './worktree.ts';

/**
 * The start with the commit that it runs at, which is on the machine then. Nothing was started when it throws: what the
 * client's git throws, `usage` without a ref, `unknown_project`.
 */
export async function inWorktree(
  command: string,
  start: StartRequest,
  values: WorktreeValues & { readonly project: string },
  context: Context,
): Promise<Prepared> {
  const { project, ref } = values;
  const watchdog = new Watchdog({ readerGone: context.output.readerGone });
  try {
    const source = await sourceOf(project, start.machine ?? '', context);
    const wanted = ref ?? source.view?.default_ref;
    if (wanted === undefined)
      throw usage({ name: command }, `--project ${source.key} needs --ref REF: it has no default`);
    const { warnings, ...placed } = await source.place(
      wanted,
      values['include-large'] === true,
      start,
      watchdog.signal,
    );
    const worktree: WorktreeSpec = {
      project: source.key,
      ref: wanted,
      ...placed,
      ...(values.workspace === undefined ? {} : { workspace: values.workspace }),
      ...(values.clean && { clean: true }),
      ...(values['keep-worktree'] && { keep: true }),
    };
    return { start: { ...start, spec: { ...start.spec, worktree } }, warnings };
  } catch (error) {
    if (context.output.readerGone.aborted) throw context.output.readerGone.reason;
    throw beforeStart(watchdog.signal.aborted ? stopped() : error, start);
  } finally {
    watchdog.close();
  }
}

function stopped(): RemoteError {
  return new RemoteError('cancelled', 'told to stop before the exec was started', {
    hint: 'repeat it: what the machine has by now is not sent again',
  });
}

/** The exec has an id, and whatever happened: nothing of it was sent. */
function beforeStart(error: unknown, { spec, machine }: StartRequest): RemoteError {
  const failure = RemoteError.from(error);
  const details = { ...failure.details, exec_id: spec.exec_id, sent: 'no' as const };
  return new RemoteError(
    failure.code,
    failure.message,
    { ...details, ...(machine === undefined ? {} : { machine }) },
    failure,
  );
}

interface Source {
  /** Of the mirror on the machine. */
  readonly key: string;
  readonly view?: ProjectView;
  /** Makes the commit be on the machine. */
  place(
    ref: string,
    includeLarge: boolean,
    start: StartRequest,
    signal: AbortSignal,
  ): Promise<Pick<WorktreeSpec, 'commit' | 'tree' | 'dirty' | 'base'> & { warnings: readonly string[] }>;
}

async function sourceOf(project: string, machine: string, context: Context): Promise<Source> {
  if (read.isFolder(project)) {
    const repository = await Repository.find(isAbsolute(project) ? project : resolve(context.cwd, project));
    return sentFrom(repository, repository.key, context);
  }
  const view = await new ProjectClient(context.client.connection).show(project);
  checkMachine(view, machine);
  const { repo } = view;
  if (repo.kind === 'url') return fetchedThere(view, context);
  if (context.remote !== undefined || repo.path === undefined)
    throw new RemoteError(
      'not_repository',
      `the repository of ${project} is a folder on the host of the controller`,
      {
        hint: 'from here, name a repository of this host: --project ./FOLDER',
      },
    );
  return { ...sentFrom(await Repository.find(repo.path), view.project, context), view };
}

/** Throws `unknown_project`. */
function checkMachine({ project, machines }: ProjectView, machine: string): void {
  if (!machines || machines.includes(machine)) return;
  throw new RemoteError(
    'unknown_project',
    `unknown project ${project} on ${machine}: it is for ${machines.join(', ')}`,
    {
      hint: `choose one of these machines with -m`,
    },
  );
}

function sentFrom(repository: Repository, key: string, context: Context): Source {
  const { client, clock, paths } = context;
  return {
    key,
    async place(ref, includeLarge, { machine = '', connectWaitMs }, signal) {
      const progress = sendingNotes(context, machine);
      const { leftOut, sentBytes, ...placed } = await bring({
        repository,
        store: new SnapshotStore(paths.cache, repository),
        git: new GitClient(client.connection, clock),
        address: { machine, project: key, connectWaitMs },
        ref,
        includeLarge,
        sending: progress,
        signal,
      });
      note(
        context,
        `${key} at ${placed.commit.slice(0, 12)}${placed.dirty ? ' (files as they are)' : ''}${sentBytes > 0 ? `, ${sentBytes} bytes sent` : ''}`,
      );
      return { ...placed, warnings: leftOut };
    },
  };
}

function fetchedThere(view: ProjectView, { client, clock }: Context): Source {
  return {
    key: view.project,
    view,
    async place(ref, _includeLarge, { machine = '', connectWaitMs }, signal) {
      if (ref === worktreeRef)
        throw new RemoteError(
          'unknown_ref',
          `unknown ref ${worktreeRef}: ${view.project} is fetched from a URL`,
          {
            hint: `give a branch, tag or commit; files of this host go with --project . --ref ${worktreeRef}`,
          },
        );
      const address = { machine, project: view.project, connectWaitMs };
      const placed = await new GitClient(client.connection, clock).fetch(address, ref, {
        signal,
      });
      return { ...placed, dirty: false, warnings: [] };
    },
  };
}

/** Bytes between two notes about a pack that takes its time. */
const noteBytes = 32 * 1024 * 1024;

function sendingNotes(context: Context, machine: string): (bytes: number) => void {
  let [sent, next] = [0, noteBytes];
  return (bytes) => {
    sent += bytes;
    if (sent < next) return;
    next += noteBytes;
    note(context, `sending commits to ${machine}: ${Math.floor(sent / 2 ** 20)} MiB`);
  };
}

function note({ output }: Context, text: string): void {
  if (output.terminal && output.mode === 'human') output.note(oneLine(text));
}
