/** Of each stream of an exec, where nobody says otherwise: beyond it the oldest bytes go. */
export const defaultLogLimitBytes = 2 * 1024 ** 3;

/** Less than this is no log: tails and reports would have nothing to show. */
export const minLogLimitBytes = 64 * 1024;

/** What is done when a log is at its limit. */
export const logLimitActions = ['drop-oldest', 'cancel'] as const;
export type LogLimitAction = (typeof logLimitActions)[number];
