/** The exec's id, for the job to use. */
export const execIdName = 'CODEX_REMOTE_EXEC_ID';
/** A random word per exec by which the agent finds its processes, and ends them on a cancel. */
export const execMarkName = 'CODEX_REMOTE_EXEC_MARK';

/** The environment for a daemon that a job may have started: with the job's marks it would end with the job. */
export function withoutJobMarks(
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  const { [execIdName]: _id, [execMarkName]: _mark, ...rest } = env;
  return rest;
}
