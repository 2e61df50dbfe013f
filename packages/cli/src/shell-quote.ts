/** One word for a POSIX shell. */
export function shellQuote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Longer lines are of no use to repeat; the short way leads to the same place. */
const maxLine = 2000;

/**
 * The line as typed, with `--id`, so that repeating it attaches to what it may have started. Values of `--env` are not
 * said again: whoever keeps our output would keep them.
 */
export function commandLine(args: readonly string[], execId: string): string {
  const split = args.indexOf('--');
  const ours = split === -1 ? args : args.slice(0, split);
  const words = [
    ...ours,
    ...(namesId(args) ? [] : ['--id', execId]),
    ...(split === -1 ? [] : args.slice(split)),
  ];
  const line = `codex-remote ${words.map(shellQuote).join(' ')}`;
  const short = line.length > maxLine || /[\0\n]/.test(line) || ours.some(setsVariable);
  return short ? `codex-remote exec result --id ${execId}` : line;
}

/** `--env K=V`, as one word or the second of two. What is taken for one and is none does no harm. */
function setsVariable(word: string, at: number, words: readonly string[]): boolean {
  return /^--env=[^=]*=/.test(word) || (words[at - 1] === '--env' && word.includes('='));
}

/** The line has an id of its own: typed again, it attaches. */
export function namesId(args: readonly string[]): boolean {
  const split = args.indexOf('--');
  const ours = split === -1 ? args : args.slice(0, split);
  return ours.some((word) => word === '--id' || word.startsWith('--id='));
}
