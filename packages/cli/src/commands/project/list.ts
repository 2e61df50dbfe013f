import { ProjectClient } from '@codex-remote/client';
import { command } from '../../table/command.ts';
import { table } from '../exec/render.ts';
import { repoText } from './show-text.ts';

export const projectList = command({
  name: 'project list',
  summary: 'List the projects and where their commits come from.',
  flags: {},
  examples: [['all', 'project list']],
  async run(_values, { client }) {
    const projects = await new ProjectClient(client.connection).list();
    const rows = projects.map((view) => [
      view.project,
      view.default_ref ?? '',
      view.machines?.join(' ') ?? '',
      repoText(view),
    ]);
    return {
      value: { ok: true, projects },
      exit: 0,
      human: () =>
        rows.length === 0
          ? 'no projects; codex-remote project add registers one'
          : table(['PROJECT', 'DEFAULT REF', 'MACHINES', 'REPOSITORY'], rows),
    };
  },
});
