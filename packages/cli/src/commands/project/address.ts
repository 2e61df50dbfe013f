import { usage } from '../../table/bind.ts';
import { one } from '../../table/flag.ts';
import * as read from '../../table/values.ts';

export const projectFlag = one(read.projectName, 'NAME', 'the project');

/** Throws `usage`. */
export function projectOf(command: string, project: string | undefined): string {
  if (project === undefined) throw usage({ name: command }, `${command} needs a project: ${command} NAME`);
  return project;
}
