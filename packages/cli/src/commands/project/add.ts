import { isAbsolute, resolve } from 'node:path';
import { ProjectClient } from '@codex-remote/client';
import type { ProjectAdd } from '@codex-remote/protocol/schema';
import { looksLikeRepositoryUrl, readRepositoryUrl } from '@codex-remote/protocol/wire';
import type { Context } from '../../context.ts';
import { notHere } from '../../own-host.ts';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { many, one } from '../../table/flag.ts';
import * as read from '../../table/values.ts';
import { projectFlag, projectOf } from './address.ts';
import { projectText } from './show-text.ts';

export const projectAdd = command({
  name: 'project add',
  summary: 'Register a project: where the commits come from that execs run at.',
  description:
    'A repository of this host is sent to machines commit by commit, without a credential there. A URL (https, ssh, git, file) is fetched by the machine itself. No registration is needed for --project . of exec run.',
  flags: {
    project: projectFlag,
    repo: one(read.nonEmpty, 'URL|DIR', 'where it is: a folder in a repository here, or a URL'),
    machine: many(read.machine, 'NAME', 'only for this machine', { char: 'm' }),
    'default-ref': one(read.gitRef, 'REF', 'what is meant where an exec gives no --ref'),
  },
  positional: 'project',
  examples: [
    ['the repository that this folder is in', 'project add app --repo .'],
    [
      'one that machines fetch',
      'project add lib --repo https://github.com/octocat/Hello-World --default-ref master',
    ],
  ],
  async run(values, context) {
    const name = projectOf('project add', values.project);
    if (values.repo === undefined)
      throw usage({ name: 'project add' }, 'project add needs a repository: --repo URL|DIR');
    const view = await new ProjectClient(context.client.connection).add({
      name,
      repo: await repoOf(values.repo, context),
      ...(values.machine && { machines: [...values.machine] }),
      ...(values['default-ref'] === undefined ? {} : { default_ref: values['default-ref'] }),
    });
    return { value: { ok: true, ...view }, exit: 0, human: () => projectText(view) };
  },
});

/** Throws `usage` for a URL that may not be, `not_repository` for a folder that is none. */
async function repoOf(text: string, { cwd, remote }: Context): Promise<ProjectAdd['repo']> {
  if (looksLikeRepositoryUrl(text)) {
    const { refused } = readRepositoryUrl(text);
    if (refused !== undefined) throw usage({ name: 'project add' }, `--repo: the URL ${refused}`);
    return { kind: 'url', url: text };
  }
  if (remote !== undefined) throw notHere('project add --repo DIR', remote.url);
  const { Repository } = await import('./trees.ts');
  const repository = await Repository.find(isAbsolute(text) ? text : resolve(cwd, text));
  return { kind: 'path', path: repository.root ?? repository.gitDir };
}
