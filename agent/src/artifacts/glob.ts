import { RemoteError } from '@codex-remote/protocol/wire';

/** What braces of the globs of an exec may come to: `{a,b}` is two. */
const maxPatterns = 1024;

/** What one character of a name must be: itself, any, or one of a class. */
type Token =
  | { readonly kind: 'char'; readonly char: string }
  | { readonly kind: 'any' }
  | { readonly kind: 'star' }
  | {
      readonly kind: 'class';
      readonly negated: boolean;
      readonly ranges: readonly (readonly [string, string])[];
    };

/** One part of a path: `**`, a name as it is, or what names must look like. */
type Segment =
  | { readonly kind: 'deep' }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'pattern'; readonly tokens: readonly Token[] };

interface Pattern {
  /** The number of the glob that it was made of. */
  readonly glob: number;
  readonly segments: readonly Segment[];
}

/** What a name under a folder is to the globs. */
export interface Step {
  /** Globs that name this entry itself. */
  readonly named: readonly number[];
  /** What a folder of this name is, where something in it can be meant. */
  readonly below: Place | undefined;
}

/** A folder on the way to what the globs name. */
export interface Place {
  /** The only names that can be meant here; undefined where they are to be looked for. */
  readonly names: readonly string[] | undefined;
  step(name: string): Step;
}

/**
 * Globs as the shells have them: `*`, `?`, `[a-z]`, `[!a-z]`, `{a,b}`, `\` before what is meant as it is, and `**` for any
 * folders. What begins with a dot is named by a dot. Matching takes time in proportion to name and glob. `literals`: paths,
 * numbered after the globs, that are meant as they are. Throws `usage` for braces that come to too many.
 */
export function parseGlobs(globs: readonly string[], literals: readonly string[] = []): Place {
  const patterns: Pattern[] = [];
  for (const [glob, text] of globs.entries())
    for (const plain of braces(text)) {
      if (patterns.length === maxPatterns)
        throw new RemoteError('usage', `the globs of the artifacts come to more than ${maxPatterns}`, {
          hint: 'fewer braces, or a * in their place',
          sent: 'no',
        });
      patterns.push({ glob, segments: segmentsOf(plain) });
    }
  for (const [index, path] of literals.entries())
    patterns.push({ glob: globs.length + index, segments: segmentsOf(escaped(path)) });
  return new Positions(patterns.map((pattern) => ({ pattern, at: 0 })));
}

function escaped(path: string): string {
  return path.replaceAll(/[\\*?[\]{}]/g, '\\$&');
}

interface Position {
  readonly pattern: Pattern;
  readonly at: number;
}

class Positions implements Place {
  readonly #positions: readonly Position[];
  readonly names: readonly string[] | undefined;

  constructor(positions: readonly Position[]) {
    const known = new Map<Pattern, Set<number>>();
    this.#positions = positions.flatMap(withNoFolder).filter(({ pattern, at }) => {
      const seen = known.get(pattern) ?? new Set();
      known.set(pattern, seen);
      return seen.size < seen.add(at).size;
    });
    const segments = this.#positions.flatMap(({ pattern, at }) => pattern.segments[at] ?? []);
    // Other letters can be there in another form than they are written here.
    const names = segments.flatMap((segment) =>
      segment.kind === 'name' && /^[ -~]+$/.test(segment.name) ? [segment.name] : [],
    );
    this.names = names.length === segments.length ? [...new Set(names)] : undefined;
  }

  step(name: string): Step {
    const named: number[] = [];
    const next: Position[] = [];
    const plain = name.normalize('NFC');
    for (const { pattern, at } of this.#positions) {
      const segment = pattern.segments[at];
      if (!segment || !fits(segment, plain)) continue;
      if (segment.kind === 'deep') next.push({ pattern, at });
      else if (at + 1 < pattern.segments.length) next.push({ pattern, at: at + 1 });
      else named.push(pattern.glob);
    }
    return { named, below: next.length > 0 ? new Positions(next) : undefined };
  }
}

/** `**` stands for no folder, too. */
function withNoFolder({ pattern, at }: Position): Position[] {
  const here = { pattern, at };
  return pattern.segments[at]?.kind === 'deep' ? [here, { pattern, at: at + 1 }] : [here];
}

function fits(segment: Segment, name: string): boolean {
  switch (segment.kind) {
    case 'deep':
      return !name.startsWith('.');
    case 'name':
      return segment.name === name;
    case 'pattern':
      return matches(segment.tokens, Array.from(name));
  }
}

/** The last star takes as little as it can, and more where that leads nowhere: no other one has to be tried again. */
function matches(tokens: readonly Token[], name: readonly string[]): boolean {
  const [first] = tokens;
  if (name[0] === '.' && !(first?.kind === 'char' && first.char === '.')) return false;
  let [token, char] = [0, 0];
  let star: { token: number; char: number } | undefined;
  while (char < name.length) {
    const wanted = tokens[token];
    if (wanted?.kind === 'star') {
      star = { token: ++token, char };
    } else if (wanted && fitsChar(wanted, name[char] ?? '')) {
      token++;
      char++;
    } else if (star) {
      star.char++;
      [token, char] = [star.token, star.char];
    } else return false;
  }
  return tokens.slice(token).every(({ kind }) => kind === 'star');
}

function fitsChar(token: Token, char: string): boolean {
  switch (token.kind) {
    case 'char':
      return token.char === char;
    case 'class':
      return token.negated !== token.ranges.some(([from, to]) => from <= char && char <= to);
    default:
      return true;
  }
}

function segmentsOf(glob: string): Segment[] {
  const segments = glob
    .normalize('NFC')
    .split('/')
    .filter((text) => text !== '' && text !== '.')
    .map(segmentOf)
    .filter(({ kind }, index, all) => kind !== 'deep' || all[index + 1]?.kind !== 'deep');
  const last = segments.at(-1) ?? { kind: 'deep' };
  if (last.kind !== 'deep') return segments;
  // What is below, not the folder itself; of the working directory, too.
  return [...segments.slice(0, -1), last, { kind: 'pattern', tokens: [{ kind: 'star' }] }];
}

function segmentOf(text: string): Segment {
  if (text === '**') return { kind: 'deep' };
  const tokens = tokensOf(Array.from(text));
  const name = tokens.map((token) => (token.kind === 'char' ? token.char : undefined));
  return name.includes(undefined) ? { kind: 'pattern', tokens } : { kind: 'name', name: name.join('') };
}

function tokensOf(text: readonly string[]): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? '';
    if (char === '*') {
      if (tokens.at(-1)?.kind !== 'star') tokens.push({ kind: 'star' });
    } else if (char === '?') tokens.push({ kind: 'any' });
    else if (char === '\\' && at + 1 < text.length) tokens.push({ kind: 'char', char: text[++at] ?? '' });
    else {
      const found = char === '[' ? classAt(text, at) : undefined;
      tokens.push(found?.token ?? { kind: 'char', char });
      at = found?.end ?? at;
    }
  }
  return tokens;
}

/** Undefined where the bracket is never closed: it is itself then. */
function classAt(text: readonly string[], begin: number): { token: Token; end: number } | undefined {
  const negated = text[begin + 1] === '!' || text[begin + 1] === '^';
  const ranges: [string, string][] = [];
  for (let at = begin + (negated ? 2 : 1); at < text.length; at++) {
    if (text[at] === ']' && ranges.length > 0) return { token: { kind: 'class', negated, ranges }, end: at };
    if (text[at] === '\\') at++;
    const from = text[at] ?? '';
    const to = text[at + 1] === '-' && text[at + 2] !== ']' ? text[at + 2] : undefined;
    ranges.push([from, to ?? from]);
    if (to !== undefined) at += 2;
  }
  return undefined;
}

/** The texts that braces stand for. Braces without a comma, or that are never closed, are themselves. */
function* braces(text: string): Generator<string, void, void> {
  const found = firstBraces(text);
  if (!found) {
    yield text;
    return;
  }
  for (const part of found.parts) yield* braces(found.before + part + found.after);
}

function firstBraces(text: string): { before: string; parts: string[]; after: string } | undefined {
  for (let begin = 0; begin < text.length; begin++) {
    if (text[begin] === '\\') begin++;
    else if (text[begin] === '{') {
      const found = bracesAt(text, begin);
      if (found) return found;
    }
  }
  return undefined;
}

function bracesAt(
  text: string,
  begin: number,
): { before: string; parts: string[]; after: string } | undefined {
  const parts: string[] = [];
  let [depth, from] = [0, begin + 1];
  for (let at = begin + 1; at < text.length; at++) {
    const char = text[at];
    if (char === '\\') at++;
    else if (char === '{') depth++;
    else if (char === '}' && depth > 0) depth--;
    else if (depth === 0 && (char === ',' || char === '}')) {
      parts.push(text.slice(from, at));
      from = at + 1;
      if (char === '}' && parts.length > 1)
        return { before: text.slice(0, begin), parts, after: text.slice(at + 1) };
      if (char === '}') return undefined;
    }
  }
  return undefined;
}
