import { ProjectClient } from '@codex-remote/client';
import { command } from '../../table/command.ts';
import { flagSwitch } from '../../table/flag.ts';
import { textOf } from '../exec/render.ts';
import { projectFlag, projectOf } from './address.ts';

export const projectRemove = command({
  name: 'project remove',
  summary: 'Forget a project. Its repository stays as it is.',
  flags: {
    project: projectFlag,
    purge: flagSwitch('machines that are connected remove their commits and workspaces of it too'),
  },
  positional: 'project',
  examples: [
    ['forget it', 'project remove app'],
    ['and what machines have of it', 'project remove app --purge'],
  ],
  async run(values, { client }) {
    const project = projectOf('project remove', values.project);
    const { mirrors } = await new ProjectClient(client.connection).remove(project, values.purge === true);
    return {
      value: { ok: true, project, removed: true, ...(values.purge && { mirrors }) },
      exit: 0,
      human: () =>
        textOf(
          `${project}: removed`,
          ...mirrors.map(
            ({ machine, removed, error }) =>
              `${machine}: ${removed ? 'removed' : error === undefined ? 'had nothing of it' : `kept (${error})`}`,
          ),
        ),
    };
  },
});
