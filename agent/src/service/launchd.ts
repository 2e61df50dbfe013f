import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { writeDurableSync } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Said, ServiceHost } from './host.ts';
import { plistMark, plistText } from './plist.ts';
import type { ServiceFacts } from './unit.ts';

/** `gui/501` where the user is logged in at the screen, else `user/501`; undefined where launchd knows neither. */
export async function findDomain(host: ServiceHost): Promise<string | undefined> {
  for (const kind of ['gui', 'user']) {
    const domain = `${kind}/${host.uid}`;
    if ((await host.run(['launchctl', 'print', domain])).status === 0) return domain;
  }
  return undefined;
}

/** One agent under launchd. */
export class LaunchdAgent {
  readonly #host: ServiceHost;
  readonly #name: string;
  readonly #file: string;

  constructor(host: ServiceHost, name: string) {
    this.#host = host;
    this.#name = name;
    this.#file = join(host.home, 'Library/LaunchAgents', `${name}.plist`);
  }

  get installed(): boolean {
    return isOurs(this.#file);
  }

  /** Writes the plist and loads it, in place of one that is loaded. Throws `agent_start_failed`. */
  async start(facts: ServiceFacts, domain: string): Promise<void> {
    if (existsSync(this.#file) && !isOurs(this.#file))
      throw new RemoteError('agent_start_failed', `${this.#file} is not ours`, {
        hint: 'move that file away and repeat',
      });
    await this.#unload();
    mkdirSync(dirname(this.#file), { recursive: true, mode: 0o700 });
    writeDurableSync(this.#file, plistText(facts));
    const said = await this.#launchctl('bootstrap', domain, this.#file);
    if (said.status === 0) return;
    throw new RemoteError('agent_start_failed', `launchctl bootstrap ${domain} failed`, {
      hint: `try \`launchctl bootstrap ${domain} ${this.#file}\` on the machine`,
      facts: { remote_stderr: said.stderr.slice(-1000) },
    });
  }

  /** Ends the agent and lets no login start it; its jobs go on. Harmless where it is not installed. */
  async remove(): Promise<void> {
    if (!this.installed) return;
    await this.#unload();
    rmSync(this.#file, { force: true });
  }

  /** From both: it may have been loaded while nobody was logged in at the screen. */
  async #unload(): Promise<void> {
    for (const kind of ['gui', 'user'])
      await this.#launchctl('bootout', `${kind}/${this.#host.uid}/${this.#name}`);
  }

  #launchctl(...words: string[]): Promise<Said> {
    return this.#host.run(['launchctl', ...words]);
  }
}

function isOurs(file: string): boolean {
  try {
    return readFileSync(file, 'utf8').includes(plistMark);
  } catch {
    return false;
  }
}
