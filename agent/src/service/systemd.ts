import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { writeDurableSync } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Said, ServiceHost } from './host.ts';
import { type ServiceFacts, unitMark, unitText } from './unit.ts';

/** `append:` for a unit's output: https://github.com/systemd/systemd/blob/main/NEWS, version 240. */
const oldestVersion = 240;

/** `systemd 255 (255.4-1ubuntu8)` is 255.4; distributions that count in another way have no minor. */
export interface SystemdVersion {
  readonly major: number;
  readonly minor: number | undefined;
}

/** A user's own systemd, as far as an agent needs it. */
export interface SystemdManager {
  readonly version: SystemdVersion;
  /** Where it looks for the user's units. */
  readonly units: string;
}

/** The user's manager, or undefined where there is none that we can talk to or use. */
export async function findManager(host: ServiceHost): Promise<SystemdManager | undefined> {
  const environment = await host.run(['systemctl', '--user', 'show-environment']);
  if (environment.status !== 0) return undefined;
  const version = await systemdVersion(host);
  if (version === undefined || version.major < oldestVersion) return undefined;
  const value = (name: string): string | undefined =>
    environment.stdout.match(new RegExp(`^${name}=(/.*)$`, 'm'))?.[1];
  const config = value('XDG_CONFIG_HOME') ?? join(value('HOME') ?? host.home, '.config');
  return { version, units: join(config, 'systemd/user') };
}

/** Where units are when no manager tells. */
export function usualUnits(host: ServiceHost): string {
  return join(host.env.XDG_CONFIG_HOME || join(host.home, '.config'), 'systemd/user');
}

/** Undefined where there is no systemd. */
export async function systemdVersion(host: ServiceHost): Promise<SystemdVersion | undefined> {
  const { stdout } = await host.run(['systemctl', '--version']);
  const [, major, minor] = /^systemd (\d+)(?: \(\1\.(\d+))?/.exec(stdout) ?? [];
  if (major === undefined) return undefined;
  return { major: Number(major), minor: minor === undefined ? undefined : Number(minor) };
}

/**
 * Whether the user's manager outlives the last session; asks for it where it does not. A refusal (polkit, no logind) is an
 * answer: without it the manager ends everything of ours at the last logout.
 */
export async function keepLingering(host: ServiceHost): Promise<boolean> {
  const lingers = async (): Promise<boolean> =>
    (await host.run(['loginctl', 'show-user', host.user, '--property=Linger', '--value'])).stdout.trim() ===
    'yes';
  if (await lingers()) return true;
  await host.run(['loginctl', '--no-ask-password', 'enable-linger']);
  if (await lingers()) return true;
  // Without a name it is the owner of the caller's session, and there may be none.
  await host.run(['loginctl', '--no-ask-password', 'enable-linger', host.user]);
  return lingers();
}

/** One agent as a user unit. */
export class SystemdUnit {
  readonly #host: ServiceHost;
  readonly #file: string;
  readonly #unit: string;

  /** `units`: the folder of the user's units. */
  constructor(host: ServiceHost, units: string, name: string) {
    this.#host = host;
    this.#unit = `${name}.service`;
    this.#file = join(units, this.#unit);
  }

  get installed(): boolean {
    return isOurs(this.#file);
  }

  /** Writes the unit, enables it, and starts or restarts it. Throws `agent_start_failed`. */
  async start(facts: ServiceFacts): Promise<void> {
    if (existsSync(this.#file) && !isOurs(this.#file))
      throw new RemoteError('agent_start_failed', `${this.#file} is not ours`, {
        hint: 'move that file away and repeat',
      });
    mkdirSync(dirname(this.#file), { recursive: true, mode: 0o700 });
    writeDurableSync(this.#file, unitText(facts));
    await this.#must('daemon-reload');
    await this.#must('enable', this.#unit);
    await this.#must('restart', this.#unit);
  }

  /** True once the manager has seen it fail: it will not serve, whatever is waited. */
  async failed(): Promise<boolean> {
    const { stdout } = await this.#systemctl('show', this.#unit, '--property=ActiveState,SubState');
    return /^ActiveState=(failed|inactive)$|^SubState=auto-restart/m.test(stdout);
  }

  /** Ends the agent and lets no boot start it; its jobs go on. Harmless where it is not installed. */
  async remove(): Promise<void> {
    if (!this.installed) return;
    await this.#systemctl('disable', '--now', this.#unit);
    // Also where no manager runs any more that would do it.
    rmSync(join(dirname(this.#file), 'default.target.wants', this.#unit), { force: true });
    rmSync(this.#file, { force: true });
    await this.#systemctl('daemon-reload');
    await this.#systemctl('reset-failed', this.#unit);
  }

  async #must(...words: string[]): Promise<void> {
    const said = await this.#systemctl(...words);
    if (said.status === 0) return;
    throw new RemoteError('agent_start_failed', `systemctl --user ${words.join(' ')} failed`, {
      hint: `look at \`systemctl --user status ${this.#unit}\` on the machine`,
      facts: { remote_stderr: said.stderr.slice(-1000) },
    });
  }

  #systemctl(...words: string[]): Promise<Said> {
    return this.#host.run(['systemctl', '--user', ...words]);
  }
}

function isOurs(file: string): boolean {
  try {
    return readFileSync(file, 'utf8').startsWith(unitMark);
  } catch {
    return false;
  }
}
