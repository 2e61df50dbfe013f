/**
 * What an `allow` policy lets run, as text:
 *
 *   make test ...                 words of an argument vector, one space between two; `*` in a word is any text within that
 *                                 argument, a last `...` is any arguments after it, also none
 *   ["touch","a b","..."]         the same as JSON, for words with spaces
 *   cmd:TEXT  cmd:sha256:HEX      a `--cmd` with exactly this text, in the default shell
 *   script:sha256:HEX             a `--script` with exactly these bytes, in the default shell
 *
 * The first word is always exact: a name that is looked up in the machine's PATH, or an absolute path. There are no
 * escapes and no regular expressions; a pattern matches or it does not, in time linear in its argument.
 */
export type Pattern =
  | { readonly kind: 'argv'; readonly words: readonly string[]; readonly rest: boolean }
  | { readonly kind: 'cmd'; readonly text: string }
  | { readonly kind: 'cmd' | 'script'; readonly sha256: string };

export const maxPatternLength = 512;
const sha256 = /^sha256:([0-9a-f]{64})$/;
/** Nothing that is not seen as it is, in a word or between two. */
const invisible = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

/** The pattern, or in words why it is none. */
export function parsePattern(text: string): Pattern | string {
  if (text.length > maxPatternLength) return `it is over ${maxPatternLength} characters`;
  const [, kind, what = ''] = /^(cmd|script):(.*)$/s.exec(text) ?? [];
  if (kind !== undefined) return shellPattern(kind as 'cmd' | 'script', what);
  if (invisible.test(text)) return 'it has a character that cannot be seen';
  const words = text.startsWith('[') ? jsonWords(text) : text.split(' ');
  if (typeof words === 'string') return words;
  if (!text.startsWith('[') && words.includes(''))
    return 'words have one space between them, and none before or behind';
  return argvPattern(words);
}

function shellPattern(kind: 'cmd' | 'script', what: string): Pattern | string {
  const [, digest] = sha256.exec(what) ?? [];
  if (digest !== undefined) return { kind, sha256: digest };
  if (kind === 'script' || what.startsWith('sha256:')) return `${kind}:sha256: has 64 hex digits behind it`;
  return what === '' ? 'cmd: has the exact text behind it' : { kind: 'cmd', text: what };
}

function jsonWords(text: string): string[] | string {
  try {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value) && value.every((word) => typeof word === 'string')) return value;
  } catch {
    // Below.
  }
  return 'what begins with [ is a JSON array of strings';
}

function argvPattern(words: readonly string[]): Pattern | string {
  const rest = words.at(-1) === '...';
  const named = rest ? words.slice(0, -1) : words;
  const [program] = named;
  if (program === undefined || program === '') return 'it names no program';
  if (named.includes('...')) return '... stands at the end only';
  if (program.includes('*')) return 'the program is exact: no * in the first word';
  if (program.includes('/') && !program.startsWith('/'))
    return 'the program is a name or an absolute path: what a relative one means depends on the directory';
  if (invisible.test(named.join(''))) return 'it has a character that cannot be seen';
  return { kind: 'argv', words: named, rest };
}

/** Whether an argument vector is one that the pattern means. */
export function matchesArgv(
  { words, rest }: Extract<Pattern, { kind: 'argv' }>,
  argv: readonly string[],
): boolean {
  if (rest ? argv.length < words.length : argv.length !== words.length) return false;
  return words.every((word, at) => {
    const argument = argv[at] ?? '';
    return at === 0 ? word === argument : matchesWord(word, argument);
  });
}

/** `*` is any text, also none; everything else is itself. Leftmost finds suffice: parts never need to be tried again. */
function matchesWord(word: string, argument: string): boolean {
  const [head = '', ...parts] = word.split('*');
  const tail = parts.pop();
  if (tail === undefined) return word === argument;
  if (argument.length < head.length + tail.length) return false;
  if (!argument.startsWith(head) || !argument.endsWith(tail)) return false;
  let at = head.length;
  const end = argument.length - tail.length;
  for (const part of parts) {
    const found = argument.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}
