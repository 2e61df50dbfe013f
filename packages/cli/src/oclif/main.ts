/**
 * oclif's part: help, and the commands that are called rarely. It gets the same table, made into its classes, and an
 * argument vector in which nothing can be misread (see `argv.ts`).
 */

import { Config, settings } from '@oclif/core';
import { table as parser, commands as table } from '../commands/all.ts';
import { Shell } from '../shell.ts';
import type { Tokens } from '../table/tokens.ts';
import { oclifArgv } from './argv.ts';
import { type CommandClasses, classesOf, setBeside } from './classes.ts';
import { Help } from './help.ts';
import { pjson } from './pjson.ts';

/** What oclif discovers the commands by. */
export const commands: CommandClasses = classesOf(table);

/** Runs the program with oclif. Ends the process. */
export function main(args: readonly string[]): void {
  const tokens = parser.tokenize(args);
  const shell = new Shell(args, tokens);
  void shell.end(() => run(shell, tokens), parser.find(tokens.words)?.command.name);
}

async function run(shell: Shell, tokens: Tokens): Promise<number> {
  const parsed = parser.parse(tokens, Date.now());
  const config = await loadConfig();
  if (parsed.kind === 'help') {
    await new Help(config, shell.output).showHelp([...parsed.words]);
    return 0;
  }
  setBeside({ shell, argv: parsed.argv });
  const status: unknown = await config.runCommand(
    parsed.command.name.replace(' ', ':'),
    oclifArgv(tokens, parsed.command),
  );
  if (typeof status !== 'number') throw new Error(`${parsed.command.name} ended without a status`);
  return status;
}

/** No file is looked for: the description is built in, the commands are in this bundle. */
export function loadConfig(): Promise<Config> {
  settings.enableAutoTranspile = false;
  return Config.load({ root: __dirname, pjson, ignoreManifest: true });
}
