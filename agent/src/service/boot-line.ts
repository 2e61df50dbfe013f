import { hasBootLine, withBootLine, withoutBootLine } from './crontab.ts';
import type { ServiceHost } from './host.ts';

/** An agent's `@reboot` line in the user's crontab. */
export class BootLine {
  readonly #host: ServiceHost;
  readonly #name: string;

  constructor(host: ServiceHost, name: string) {
    this.#host = host;
    this.#name = name;
  }

  /** Puts the line there, or brings it up to date. Why that could not be done, or undefined. */
  async install(argv: readonly string[]): Promise<string | undefined> {
    const before = await this.#read();
    if ('why' in before) return before.why;
    const after = withBootLine(before.text, this.#name, argv);
    return after === before.text ? undefined : this.#write(after);
  }

  /** Takes our line out; every other line stays. Harmless where there is none. */
  async remove(): Promise<void> {
    const before = await this.#read();
    if ('text' in before && hasBootLine(before.text, this.#name))
      await this.#write(withoutBootLine(before.text, this.#name));
  }

  /** A crontab that cannot be read must not be replaced: only the words for "there is none" make it an empty one. */
  async #read(): Promise<{ text: string } | { why: string }> {
    const said = await this.#host.run(['crontab', '-l']);
    if (said.status === 0) return { text: said.stdout };
    if (said.status === undefined) return { why: 'there is no crontab(1)' };
    if (/no crontab/i.test(said.stderr)) return { text: '' };
    return { why: `crontab -l failed: ${said.stderr.trim().slice(0, 200)}` };
  }

  async #write(text: string): Promise<string | undefined> {
    const said = await this.#host.run(['crontab', '-'], text);
    return said.status === 0
      ? undefined
      : `crontab - failed: ${said.stderr.trim().slice(0, 200) || 'no reason given'}`;
  }
}
