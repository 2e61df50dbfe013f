import type { CommandSpec } from './table/command.ts';
import type { Flag } from './table/flag.ts';

/** `codex-remote exec run -m NAME [flags] -- ARGV...`, for help and docs. */
export function usageLine(spec: CommandSpec): string {
  const flag = spec.positional === undefined ? undefined : spec.flags[spec.positional];
  const word =
    flag === undefined || flag.kind === 'switch'
      ? ''
      : ` [${flag.value}${flag.kind === 'many' ? '...' : ''}]`;
  const argv = spec.takesArgv ? ' (--cmd STRING | --script FILE | -- ARGV...)' : '';
  return `codex-remote ${spec.name}${word}${argv}${Object.keys(spec.flags).length > 0 ? ' [flags]' : ''}`;
}

/** `-m, --machine NAME`; with `...` where it may be given again. */
export function flagTitle(name: string, flag: Flag): string {
  const short = flag.char === undefined ? '' : `-${flag.char}, `;
  const aliases = (flag.aliases ?? []).map((alias) => `, --${alias}`).join('');
  return `${short}--${name}${aliases}${flag.kind === 'switch' ? '' : ` ${flag.value}`}${flag.kind === 'many' ? '...' : ''}`;
}

/** A help fits in what an agent reads at once. */
export const maxHelpBytes = 2000;

/** Columns stand apart, where there is room for that. */
export function commandHelp(spec: CommandSpec): string {
  const text = helpOf(spec, columns);
  return Buffer.byteLength(text) <= maxHelpBytes ? text : helpOf(spec, closely);
}

function helpOf(spec: CommandSpec, show: typeof columns): string {
  const lines = [spec.summary];
  if (spec.description !== undefined) lines.push(spec.description);
  lines.push('', `USAGE  ${usageLine(spec)}`);
  const flags = Object.entries(spec.flags).map(
    ([name, flag]) => [flagTitle(name, flag), flag.summary] as const,
  );
  if (flags.length > 0) lines.push('', 'FLAGS', ...show(flags));
  lines.push('', 'OUTPUT  --json | --human | --raw | --brief   --debug adds stacks', '', 'EXAMPLES');
  for (const [what, line] of spec.examples) lines.push(`  # ${what}`, `  codex-remote ${line}`);
  return lines.join('\n');
}

export function nounHelp(noun: string, summary: string, commands: readonly CommandSpec[]): string {
  const verbs = commands
    .filter(({ name }) => name.startsWith(`${noun} `))
    .map(({ name, summary: what }) => [name, what] as const);
  return [
    summary,
    '',
    `USAGE  codex-remote ${noun} VERB [flags]   --help after the verb tells more`,
    '',
    'COMMANDS',
    ...columns(verbs),
  ].join('\n');
}

export function rootHelp(nouns: Readonly<Record<string, string>>, commands: readonly CommandSpec[]): string {
  const lines = [
    'Run commands on machines elsewhere, and never lose a job.',
    '',
    'USAGE  codex-remote NOUN VERB [flags]   --help after any of them tells more',
  ];
  for (const [noun, summary] of Object.entries(nouns)) {
    const verbs = commands
      .filter(({ name }) => name.startsWith(`${noun} `))
      .map(({ name }) => name.slice(noun.length + 1));
    lines.push('', summary, `  codex-remote ${noun} ${verbs.join('|')}`);
  }
  const alone = commands
    .filter(({ name }) => !name.includes(' '))
    .map(({ name, summary }) => [`codex-remote ${name}`, summary] as const);
  lines.push(
    '',
    ...columns(alone),
    '',
    'EXAMPLES',
    '  # this host as a machine',
    '  codex-remote machine up -m local',
    "  codex-remote exec run -m local --cmd 'uname -a'",
  );
  return lines.join('\n');
}

function closely(rows: readonly (readonly [string, string])[]): string[] {
  return rows.map(([title, text]) => ` ${title}  ${text}`);
}

function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([title]) => title.length));
  return rows.map(([title, text]) => `  ${title.padEnd(width)}  ${text}`);
}
