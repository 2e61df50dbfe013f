import { commands, nouns } from './commands/all.ts';
import { exitCodes } from './exit.ts';
import { flagTitle, usageLine } from './help-text.ts';
import type { CommandSpec } from './table/command.ts';
import type { Flag, Flags } from './table/flag.ts';
import { everyFlag } from './table/shared.ts';

/** What each status of ours means, in the order of `exitCodes`. */
const exitMeanings: Record<keyof typeof exitCodes, string> = {
  ok: 'done; for `exec run`, `watch` and `wait`: the command exited with 0',
  failed: 'any other command that failed; `wait --all` where one is not 0',
  usage: 'the command line could not be understood: nothing was sent',
  unfinished: 'not over yet: `--max-wait` ran out, or we detached; the last line has the id',
  timeout: '`--timeout` ended the job',
  cancelled: "cancelled, where the job's own code is 0",
  readerGone: 'the reader of our output went away',
  unknown: '`exec run`, `watch`, `wait`: codex-remote itself failed, or cannot say how the job ended',
};

/** `docs/cli.md`, whole. */
export function cliReference(): string {
  const parts = [
    '# Commands',
    'Made from the command table by `npm run docs`; a test fails when it is not current.',
    'Flags may stand before the noun, between noun and verb, or after the verb, never after `--`. Durations have a unit: `50s`, `10m`, `1h30m`. Times are how long ago (`10m`) or RFC 3339.',
    '## Flags of every command',
    flagTable(everyFlag),
    'Without one of them output is JSON, one object on one line (streams: one a line), and text for people where stdin and stdout are terminals and `TERM` is set and not `dumb`. `CODEX_REMOTE_OUTPUT` chooses as well.',
    ...Object.entries(nouns).flatMap(([noun, summary]) => [
      `## ${noun}`,
      `${summary}.`,
      ...commands.filter(({ name }) => name.startsWith(`${noun} `)).map(section),
    ]),
    '## version',
    ...commands.filter(({ name }) => name === 'version').map(section),
    '## Exit status',
    [
      '| status | meaning |',
      '| --- | --- |',
      "| the remote's own | `exec run`, `watch`, `wait` of one exec |",
      ...Object.entries(exitCodes).map(
        ([name, status]) => `| ${status} | ${exitMeanings[name as keyof typeof exitCodes]} |`,
      ),
    ].join('\n'),
    '## Environment',
    [
      '| variable | meaning |',
      '| --- | --- |',
      ...environment.map(([name, meaning]) => `| \`${name}\` | ${meaning} |`),
    ].join('\n'),
  ];
  return `${parts.join('\n\n')}\n`;
}

const environment: readonly (readonly [string, string])[] = [
  ['CODEX_REMOTE_HOME', 'one folder for everything of CLI and controller, in place of the XDG folders'],
  ['CODEX_REMOTE_MACHINE', 'the machine where no `--machine` is given'],
  ['CODEX_REMOTE_OUTPUT', '`json`, `human`, `raw` or `brief` where no flag says it'],
  [
    'CODEX_REMOTE_SESSION',
    'the session that execs are started in; else `CODEX_THREAD_ID`, else `CLAUDE_CODE_SESSION_ID`',
  ],
  [
    'CODEX_REMOTE_TOKEN_FILE',
    'a token of a controller elsewhere, which every command then works with: the file that `token create --output` wrote there; ours and mode 0600',
  ],
  [
    'CODEX_REMOTE_TOKEN',
    'the same line of JSON in the variable itself, for where there are no files; other processes of this user can read it there',
  ],
  [
    'CODEX_REMOTE_URL',
    'another address of that controller than the one in the token, `https://HOST[:PORT]`, such as that of a forwarded port',
  ],
  ['CODEX_REMOTE_SSH_CONFIG', 'another ssh config, as with `ssh -F`'],
];

function section(command: CommandSpec): string {
  const parts = [
    `### ${command.name}`,
    `${command.summary}${command.description === undefined ? '' : ` ${command.description}`}`,
    `\`\`\`\n${usageLine(command)}\n\`\`\``,
  ];
  if (Object.keys(command.flags).length > 0) parts.push(flagTable(command.flags));
  parts.push(
    `\`\`\`sh\n${command.examples.map(([what, line]) => `# ${what}\ncodex-remote ${line}`).join('\n')}\n\`\`\``,
  );
  return parts.join('\n\n');
}

function flagTable(flags: Flags): string {
  const rows = Object.entries<Flag>(flags).map(
    ([name, flag]) =>
      `| \`${flagTitle(name, flag).replaceAll('|', '\\|')}\` | ${flag.summary.replaceAll('|', '\\|').replaceAll('<', '&lt;')} |`,
  );
  return ['| flag | meaning |', '| --- | --- |', ...rows].join('\n');
}
