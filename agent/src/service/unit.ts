import { largeBlocks } from './memory.ts';

/** What a service manager has to know of an agent. Paths are absolute and hold no control characters. */
export interface ServiceFacts {
  readonly machine: string;
  /** `codex-remote-agent-<hash of the home>`: the name of its unit, plist and crontab line. */
  readonly name: string;
  readonly home: string;
  readonly log: string;
  /** Contents of /etc/machine-id: hosts can share a home, and a unit in it is for one of them. */
  readonly machineId?: string;
  /** The agent's command line. */
  readonly argv: readonly [string, ...string[]];
}

/** The first line of every file of ours in a service manager's folder; one without it is never replaced or removed. */
export const unitMark = '# Made by codex-remote machine up, removed by codex-remote machine down.';

/**
 * A systemd user unit, see systemd.service(5). The jobs live in its control group and are not its business: `process`
 * leaves them where the agent is stopped or replaced, `continue` where one of them is out of memory, and no limit on tasks
 * is put on them that an SSH session has not.
 */
export function unitText({ machine, home, log, machineId, argv }: ServiceFacts): string {
  // systemd refuses a program with quotes in its path, as no word is.
  const [program = '', ...words] = /["'\\]/.test(argv[0]) ? ['/usr/bin/env', ...argv] : argv;
  const host = machineId === undefined ? '' : `ConditionHost=${machineId}\n`;
  return `${unitMark}
[Unit]
Description=codex-remote agent of the machine ${specifiers(machine)}
ConditionPathExists=${specifiers(home)}/config.json
${host}StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=${[quoted(program), ...words.map((word) => quoted(word).replaceAll('$', '$$$$'))].join(' ')}
Restart=on-failure
RestartSec=1
Environment=${largeBlocks.name}=${largeBlocks.value}
KillMode=process
TimeoutStopSec=10
OOMPolicy=continue
TasksMax=infinity
StandardOutput=append:${specifiers(log)}
StandardError=append:${specifiers(log)}

[Install]
WantedBy=default.target
`;
}

/** One word of ExecStart. A dollar stands for itself in the program's path, and for a variable in the words after it. */
function quoted(word: string): string {
  return `"${specifiers(word).replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

function specifiers(text: string): string {
  return text.replaceAll('%', '%%');
}
