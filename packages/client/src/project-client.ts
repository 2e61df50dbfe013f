import type { ProjectAdd, ProjectRemoved, ProjectView } from '@codex-remote/protocol/schema';
import { type Connection, jsonHeaders } from './connection.ts';
import { arrayOf, booleanOf, objectOf, stringOf } from './shape.ts';

type Options = { readonly signal?: AbortSignal | undefined };

/** Projects of a controller, through its API. */
export class ProjectClient {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  async list(options: Options = {}): Promise<ProjectView[]> {
    const value = await this.#connection.json({ method: 'GET', path: '/v1/projects', ...options });
    return arrayOf(objectOf(value, 'projects').projects, 'projects').map(readProject);
  }

  async show(name: string, options: Options = {}): Promise<ProjectView> {
    return readProject(await this.#connection.json({ method: 'GET', path: pathOf(name), ...options }));
  }

  async add(project: ProjectAdd, options: Options = {}): Promise<ProjectView> {
    const body = Buffer.from(JSON.stringify(project));
    const request = { method: 'POST', path: '/v1/projects', headers: jsonHeaders, body } as const;
    return readProject(await this.#connection.json({ ...request, ...options }));
  }

  /** With `purge` the machines that are connected remove their copies. */
  async remove(name: string, purge: boolean, options: Options = {}): Promise<ProjectRemoved> {
    const path = `${pathOf(name)}?purge=${purge ? 1 : 0}`;
    const value = objectOf(await this.#connection.json({ method: 'DELETE', path, ...options }), 'removed');
    for (const mirror of arrayOf(value.mirrors, 'mirrors')) {
      const { machine, removed } = objectOf(mirror, 'mirror');
      stringOf(machine, 'machine');
      booleanOf(removed, 'removed');
    }
    return value as ProjectRemoved;
  }
}

function pathOf(name: string): string {
  return `/v1/projects/${encodeURIComponent(name)}`;
}

function readProject(value: unknown): ProjectView {
  const view = objectOf(value, 'project');
  stringOf(view.project, 'project');
  stringOf(objectOf(view.repo, 'repo').kind, 'kind');
  if (view.machines !== undefined) arrayOf(view.machines, 'machines');
  return value as ProjectView;
}
