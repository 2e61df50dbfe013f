import { z } from 'zod';

/** Exec ids and unique prefixes of them. Also safe as one path component. */
export const execIdPattern = /^[a-z0-9][a-z0-9._-]{0,63}$/;
/** Machines, projects, queues. Also safe as one path component, never an option, never a look-alike. */
export const namePattern = /^[a-z0-9][a-z0-9._-]{0,62}$/;

export const execId = z.string().regex(execIdPattern, 'an exec id is [a-z0-9][a-z0-9._-]{0,63}');
export const machineName = z.string().regex(namePattern, 'a machine name is [a-z0-9][a-z0-9._-]{0,62}');
export const queueName = z.string().regex(namePattern, 'a queue name is [a-z0-9][a-z0-9._-]{0,62}');

/** Also the key of a project's mirror on a machine. */
export const projectName = z.string().regex(namePattern, 'a project name is [a-z0-9][a-z0-9._-]{0,62}');
export const workspaceName = z.string().regex(namePattern, 'a workspace name is [a-z0-9][a-z0-9._-]{0,62}');

/** The machine that this host itself is: reached without SSH. */
export const localMachine = 'local';
