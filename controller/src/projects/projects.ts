import { failpoint } from '@codex-remote/platform';
import { type ProjectAdd, type ProjectRecord, projectRecord } from '@codex-remote/protocol/schema';
import { type Clock, nearestNames, RemoteError } from '@codex-remote/protocol/wire';
import { Low } from 'lowdb';
import { z } from 'zod';
import { DurableJson } from '../registry/durable-json.ts';

const document = z.object({ version: z.literal(1), projects: z.array(projectRecord) });
type Document = z.infer<typeof document>;

/** The projects of this controller: where commits come from, and on which machines they may be. One file, written here alone. */
export class Projects {
  readonly #db: Low<Document>;
  readonly #clock: Clock;
  #writing: Promise<unknown> = Promise.resolve();

  private constructor(db: Low<Document>, clock: Clock) {
    this.#db = db;
    this.#clock = clock;
  }

  /** Throws `state_unusable`. */
  static async open(path: string, clock: Clock): Promise<Projects> {
    const file = new DurableJson(path, document, {
      name: 'file of projects',
      before: () => failpoint('controller.projects.before'),
      after: () => failpoint('controller.projects.after'),
      lost: 'add the projects again',
    });
    const db = new Low<Document>(file, { version: 1, projects: [] });
    await db.read();
    return new Projects(db, clock);
  }

  list(): readonly ProjectRecord[] {
    return this.#db.data.projects;
  }

  find(name: string): ProjectRecord | undefined {
    return this.list().find((project) => project.name === name);
  }

  /** Throws `unknown_project`. */
  get(name: string): ProjectRecord {
    const project = this.find(name);
    if (!project)
      throw unknownProject(
        name,
        this.list().map((other) => other.name),
      );
    return project;
  }

  /** Throws `project_exists`. Durable when it resolves. */
  add(wanted: ProjectAdd): Promise<ProjectRecord> {
    return this.#change((projects) => {
      if (projects.some(({ name }) => name === wanted.name))
        throw new RemoteError('project_exists', `the project ${wanted.name} exists`, {
          hint: 'choose another name, or `codex-remote project remove` it first',
          sent: 'no',
        });
      const added: ProjectRecord = { ...wanted, added_at: new Date(this.#clock.wall()).toISOString() };
      return { projects: [...projects, added], value: added };
    });
  }

  /** Throws `unknown_project`. Durable when it resolves. */
  remove(name: string): Promise<ProjectRecord> {
    return this.#change((projects) => {
      const value = this.get(name);
      return { projects: projects.filter((other) => other !== value), value };
    });
  }

  /** What a project's list of machines says of one. A name that is not registered is the key of a folder's mirror: it may be anywhere. Throws `unknown_project`. */
  checkMachine(name: string, machine: string): void {
    const machines = this.find(name)?.machines;
    if (!machines || machines.includes(machine)) return;
    throw new RemoteError(
      'unknown_project',
      `unknown project ${name} on ${machine}: it is for ${machines.join(', ')}`,
      {
        machine,
        sent: 'no',
        hint: `choose one of its machines, or add it again with --machine ${machine} too`,
      },
    );
  }

  /** Seen by nobody before it is on disk, and not at all where it cannot be written. */
  #change<T>(
    change: (projects: readonly ProjectRecord[]) => { projects: ProjectRecord[]; value: T },
  ): Promise<T> {
    const changed = this.#writing.then(async () => {
      const { projects, value } = change(this.#db.data.projects);
      await this.#db.adapter.write({ ...this.#db.data, projects });
      this.#db.data.projects = projects;
      return value;
    });
    this.#writing = changed.catch(() => undefined);
    return changed;
  }
}

function unknownProject(name: string, known: readonly string[]): RemoteError {
  const shown = name.slice(0, 64);
  const near = nearestNames(name, known);
  const meant = near.length > 0 ? `did you mean ${near.join(' or ')}? ` : '';
  return new RemoteError('unknown_project', `unknown project ${JSON.stringify(shown)}`, {
    sent: 'no',
    hint: `${meant}\`codex-remote project list\` shows all; a folder is given with a slash in it: --project ./${shown.replaceAll(/[^\w.-]/g, '')}`,
    ...(near.length > 0 ? { facts: { nearest: near } } : {}),
  });
}
