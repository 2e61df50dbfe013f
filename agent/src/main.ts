import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { setUpEngine } from '@codex-remote/platform';
import { type AgentService, agentService } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { runBridge } from './commands/bridge.ts';
import { runDaemon } from './commands/daemon.ts';
import { initAgent } from './commands/init.ts';
import { type JoinAnswer, joinController, joinText, readInvitationFile } from './commands/join.ts';
import { setPolicy } from './commands/policy.ts';
import { purgeHome } from './commands/purge.ts';
import { ReadyPipe } from './commands/ready-pipe.ts';
import { startAgent } from './commands/start.ts';
import { stopAgent } from './commands/stop.ts';
import { unfinishedExecs } from './commands/unfinished-execs.ts';
import { type AgentHome, agentHome } from './home.ts';
import { thisHost } from './service/host.ts';
import { agentVersion } from './version.ts';

/**
 * The agent's own command line, for `machine up`, `machine down` and invitations only. One JSON line on stdout:
 * `{"ok":true,…}` or `{"ok":false,"error":WireError}` with exit status 1. `join` at a terminal says it in words.
 */
const bundle = fileURLToPath(import.meta.url);

/** All that any of them takes. */
const flags = {
  home: { type: 'string' },
  /** `start`: also after a reboot. */
  boot: { type: 'boolean' },
  /** `daemon`: what keeps it, by whom, and where its starter waits. */
  service: { type: 'string' },
  keeper: { type: 'string' },
  'ready-fd': { type: 'string' },
  /** `join`: the invitation, in place of stdin. */
  file: { type: 'string' },
} as const;

interface Call {
  readonly home: AgentHome;
  readonly boot: boolean;
  readonly service: AgentService['kind'];
  readonly keeper: number | undefined;
  readonly readyFd: number | undefined;
  readonly file: string | undefined;
}

const commands: Readonly<Record<string, (call: Call) => Promise<object | undefined>>> = {
  init: async () => initAgent(JSON.parse(await readStdin()), agentVersion),
  join: async ({ file }) =>
    joinController(file === undefined ? await readStdin() : readInvitationFile(file), {
      bundle,
      version: agentVersion,
      host: thisHost(),
    }),
  start: ({ home, boot }) => startAgent({ home, bundle, boot, host: thisHost() }),
  stop: async ({ home }) => ({ stopped: await stopAgent(home, thisHost()), ...unfinishedExecs(home) }),
  purge: async ({ home }) => ({ purged: await purgeHome(home, thisHost()) }),
  daemon: async ({ home, service, keeper, readyFd }) => {
    setUpEngine();
    await runDaemon(home, {
      bundle,
      shim: join(dirname(bundle), 'shim.sh'),
      service,
      ready: new ReadyPipe(readyFd),
      ...(keeper === undefined ? {} : { keeper }),
    });
    return undefined;
  },
  bridge: async ({ home }) => {
    await runBridge(home, process.stdin, process.stdout);
    return undefined;
  },
  policy: async ({ home }) => setPolicy(home, await readStdin()),
  version: async () => ({ version: agentVersion }),
};

async function main(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({ args: [...argv], options: flags, allowPositionals: true });
  const command = Object.hasOwn(commands, positionals[0] ?? '') ? commands[positionals[0] ?? ''] : undefined;
  if (!command) throw new RemoteError('usage', `agent: one of ${Object.keys(commands).join(', ')}`);
  const answer = await command({
    get home() {
      if (!values.home) throw new RemoteError('usage', 'agent: --home is missing');
      return agentHome(values.home);
    },
    boot: values.boot === true,
    service: agentService.shape.kind.parse(values.service ?? 'bare'),
    keeper: values.keeper === undefined ? undefined : Number(values.keeper),
    readyFd: values['ready-fd'] === undefined ? undefined : Number(values['ready-fd']),
    file: values.file,
  });
  if (!answer) return;
  const text = forPerson() ? joinText(answer as JoinAnswer) : JSON.stringify({ ok: true, ...answer });
  process.stdout.write(`${text}\n`);
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

/** Somebody has pasted an invitation here. */
function forPerson(): boolean {
  return process.argv[2] === 'join' && process.stdout.isTTY;
}

function failureText({ code, message, details: { hint } }: RemoteError): string {
  return `codex-remote: ${message} (${code})${hint === undefined ? '' : `\n  ${hint}`}`;
}

process.umask(0o077);
main(process.argv.slice(2)).then(
  // Streams of a bridge may still hold the loop open; what had to be done is done.
  () => process.stdout.write('', () => process.exit(0)),
  (error: unknown) => {
    const failure = RemoteError.from(error);
    const text = forPerson() ? failureText(failure) : JSON.stringify({ ok: false, error: failure.toWire() });
    process.stdout.write(`${text}\n`, () => process.exit(1));
  },
);
