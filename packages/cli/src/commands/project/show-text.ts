import { oneLine } from '@codex-remote/client';
import type { ProjectView } from '@codex-remote/protocol/schema';

/** Where its commits come from. */
export function repoText({ repo }: ProjectView): string {
  return oneLine(repo.kind === 'url' ? repo.url : (repo.path ?? "a folder of the controller's host"));
}

export function projectText(view: ProjectView): string {
  const lines = [
    `${view.project}: ${repoText(view)}`,
    `  machines     ${view.machines?.join(', ') ?? 'every one'}`,
    ...(view.default_ref === undefined ? [] : [`  default ref  ${view.default_ref}`]),
    `  added        ${view.added_at}`,
  ];
  return lines.map(oneLine).join('\n');
}
