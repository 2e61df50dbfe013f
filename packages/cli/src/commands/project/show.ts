import { ProjectClient } from '@codex-remote/client';
import { command } from '../../table/command.ts';
import { projectFlag, projectOf } from './address.ts';
import { projectText } from './show-text.ts';

export const projectShow = command({
  name: 'project show',
  summary: 'Show what is known of a project.',
  flags: { project: projectFlag },
  positional: 'project',
  examples: [['one project', 'project show app']],
  async run(values, { client }) {
    const view = await new ProjectClient(client.connection).show(projectOf('project show', values.project));
    return { value: { ok: true, ...view }, exit: 0, human: () => projectText(view) };
  },
});
