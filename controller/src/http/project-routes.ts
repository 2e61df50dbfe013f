import {
  type ProjectRecord,
  type ProjectRemoved,
  type ProjectView,
  projectAdd,
  projectName,
} from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import { reachOf } from '../access/scopes.ts';
import { audited } from '../audit/audited.ts';
import { type ApiCall, type ApiContext, auditCaller } from './context.ts';
import { queryFlag } from './query.ts';

const projectParams = z.object({ project: z.string().min(1).max(300) });

export function listProjects({ projects }: ApiContext, call: ApiCall): { projects: ProjectView[] } {
  return {
    projects: projects
      .list()
      .filter((project) => isSeen(project, call))
      .map((project) => viewOf(project, call)),
  };
}

export function showProject({ projects }: ApiContext, call: ApiCall): ProjectView {
  return viewOf(projects.get(projectParams.parse(call.params).project), call);
}

export async function addProject({ projects, audit }: ApiContext, call: ApiCall): Promise<ProjectView> {
  const wanted = projectAdd.parse(call.body);
  // A path is of this host: who is elsewhere names none of its folders.
  if (wanted.repo.kind === 'path' && call.principal.kind !== 'local')
    throw new RemoteError(
      'forbidden',
      'forbidden: a project of a folder is added on the host of the controller',
      {
        sent: 'no',
        hint: 'give --repo a URL, or run it on the host of the controller',
      },
    );
  const facts = {
    project: wanted.name,
    repo: wanted.repo.kind === 'path' ? wanted.repo.path : wanted.repo.url,
  };
  const intent = { ...auditCaller(call), verb: 'project.add', facts };
  return viewOf(await audited(audit, intent, () => projects.add(wanted)), call);
}

/** With `purge` the machines that are connected remove their mirrors too; one that does not is told of, and the project is gone. */
export async function removeProject(context: ApiContext, call: ApiCall): Promise<ProjectRemoved> {
  const { projects, audit } = context;
  const name = projectParams.parse(call.params).project;
  const { purge } = z.object({ purge: queryFlag }).parse(call.query);
  const intent = {
    ...auditCaller(call),
    verb: 'project.remove',
    facts: { project: name, ...(purge && { purge }) },
  };
  return audited(audit, intent, async () => {
    const { machines } = await projects.remove(name);
    return { removed: true, mirrors: purge ? await purged(context, name, machines, call.signal) : [] };
  });
}

async function purged(
  { machines, git }: ApiContext,
  project: string,
  only: readonly string[] | undefined,
  signal: AbortSignal,
): Promise<ProjectRemoved['mirrors']> {
  const asked = machines.names().filter((machine) => only?.includes(machine) ?? true);
  return Promise.all(
    asked.map(async (machine) => {
      try {
        const { removed } = await git.remove({ machine, connectWaitMs: 0, signal }, { project });
        return { machine, removed };
      } catch (error) {
        return { machine, removed: false, error: RemoteError.from(error).code };
      }
    }),
  );
}

/** One that is for other machines than a caller may know of is not there for it. */
function isSeen({ machines }: ProjectRecord, { principal }: ApiCall): boolean {
  const seen = reachOf(principal, 'machines:read');
  return machines?.some((machine) => seen.has(machine)) ?? true;
}

function viewOf({ name, repo, ...rest }: ProjectRecord, { principal }: ApiCall): ProjectView {
  const shown = principal.kind === 'local' || repo.kind === 'url' ? repo : { kind: repo.kind };
  return { project: projectName.parse(name), repo: shown, ...rest };
}
