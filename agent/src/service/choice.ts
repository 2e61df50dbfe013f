import type { AgentService, Survival } from '@codex-remote/protocol/schema';
import type { ServiceHost } from './host.ts';
import { findDomain } from './launchd.ts';
import {
  findManager,
  keepLingering,
  type SystemdManager,
  type SystemdVersion,
  systemdVersion,
} from './systemd.ts';

/** What is to keep an agent, and what that is worth on this host. */
export type Choice = {
  readonly survives: AgentService['survives'];
  readonly note: string;
  readonly warnings: readonly string[];
} & (
  | { readonly kind: 'systemd'; readonly manager: SystemdManager }
  | { readonly kind: 'launchd'; readonly domain: string }
  | { readonly kind: 'detached' | 'bare' }
);

/** `detached`: no service manager is asked. `bare`: no keeper either; for tests that end an agent and say when it returns. */
const wishName = 'CODEX_REMOTE_AGENT_SERVICE';

/** Has ended user managers at logout despite linger: https://github.com/systemd/systemd/issues/43361 */
function breaksLinger({ major, minor }: SystemdVersion): boolean {
  return major === 255 || (major === 256 && (minor ?? 0) < 3);
}

/** Looks at what this host has. Asks for linger where a user manager is there: without it the manager's end is the jobs' end. */
export async function chooseService(host: ServiceHost): Promise<Choice> {
  const wish = host.env[wishName];
  if (wish === 'bare')
    return {
      kind: 'bare',
      survives: { logout: 'unknown', reboot: 'no', crash: 'no' },
      note: `nothing keeps the agent (${wishName}=bare)`,
      warnings: [],
    };
  if (wish === 'detached') return detached(host, `${wishName}=detached`);
  if (host.platform === 'darwin') {
    const domain = await findDomain(host);
    return domain === undefined ? detached(host, 'launchd does not answer') : launchd(domain);
  }
  const manager = await findManager(host);
  if (manager === undefined) return detached(host, 'there is no systemd user manager');
  if (!(await keepLingering(host)))
    return detached(
      host,
      `linger is off for ${host.user}, and \`loginctl enable-linger\` was refused: a user unit would end with the last session`,
    );
  return systemd(host, manager);
}

function systemd(host: ServiceHost, manager: SystemdManager): Choice {
  const { version } = manager;
  const doubtful = breaksLinger(version);
  return {
    kind: 'systemd',
    manager,
    survives: { logout: doubtful ? 'unknown' : 'yes', reboot: 'yes', crash: 'yes' },
    note: `a systemd user unit, linger is on for ${host.user}; a reboot ends jobs, not the agent`,
    warnings: doubtful
      ? [
          `systemd ${version.major} can end a user's processes at logout in spite of linger, jobs too; 256.3 and later do not`,
        ]
      : [],
  };
}

function launchd(domain: string): Choice {
  const screen = domain.startsWith('gui/');
  return {
    kind: 'launchd',
    domain,
    survives: { logout: screen ? 'no' : 'unknown', reboot: 'unknown', crash: 'yes' },
    note: screen
      ? 'a launchd agent of the login at the screen: it and its jobs end with that login, and it returns with the next'
      : 'a launchd agent of the user; after a reboot it returns with the next login',
    warnings: screen ? ['a logout at the screen ends the agent and its jobs'] : [],
  };
}

async function detached(host: ServiceHost, why: string): Promise<Choice> {
  const logout = await survivesLogout(host);
  return {
    kind: 'detached',
    survives: { logout, reboot: 'no', crash: 'yes' },
    note: `a process of its own that a keeper starts again after a crash (${why})`,
    warnings: [
      ...(logout === 'no'
        ? [
            "logind ends a user's processes at logout here (KillUserProcesses), jobs too: `sudo loginctl enable-linger " +
              `${host.user}\` prevents it, then repeat machine up`,
          ]
        : []),
    ],
  };
}

/** A process that left its session's terminal is ended at logout by logind alone, where that is told to. */
async function survivesLogout(host: ServiceHost): Promise<Survival> {
  if (host.platform !== 'linux') return 'unknown';
  if ((await systemdVersion(host)) === undefined) return 'yes';
  const said = await host.run(['loginctl', 'show-user', '--property=KillUserProcesses', '--value']);
  const answer = said.stdout.trim();
  if (answer === 'no') return 'yes';
  if (answer === 'yes') return 'no';
  // The programs are there and nothing answers: logind does not run, as in containers.
  return said.status === undefined || said.status === 0 ? 'unknown' : 'yes';
}
