import { type Config, type Interfaces, type Command as OclifCommand, Help as OclifHelp } from '@oclif/core';
import { commands, nouns } from '../commands/all.ts';
import { commandHelp, nounHelp, rootHelp } from '../help-text.ts';
import type { Output } from '../output.ts';

/** oclif finds what help is wanted for; the text is made from the table, small enough for a context window. */
export class Help extends OclifHelp {
  readonly #output: Output;
  readonly #written: Promise<void>[] = [];

  constructor(config: Config, output: Output) {
    super(config as unknown as Interfaces.Config, {});
    this.#output = output;
  }

  override async showHelp(words: string[]): Promise<void> {
    await super.showHelp(words.slice(0, 2));
    await Promise.all(this.#written);
  }

  protected override log(...args: string[]): void {
    const text = args.join(' ');
    if (text !== '') this.#written.push(this.#output.write(`${text}\n`));
  }

  override async showCommandHelp(command: OclifCommand.Loadable): Promise<void> {
    const known = commands.find(({ name }) => name === command.id.replace(':', ' '));
    if (known !== undefined) this.log(commandHelp(known));
  }

  protected override async showTopicHelp(topic: Interfaces.Topic): Promise<void> {
    this.log(nounHelp(topic.name, nouns[topic.name] ?? '', commands));
  }

  protected override async showRootHelp(): Promise<void> {
    this.log(rootHelp(nouns, commands));
  }
}
