import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { RemoteError } from '@codex-remote/protocol/wire';
import { runBridge } from './commands/bridge.ts';
import { runDaemon } from './commands/daemon.ts';
import { initAgent } from './commands/init.ts';
import { purgeHome } from './commands/purge.ts';
import { runningExecs } from './commands/running-execs.ts';
import { startDaemon } from './commands/start.ts';
import { stopDaemon } from './commands/stop.ts';
import { type AgentHome, agentHome } from './home.ts';
import { agentVersion } from './version.ts';

/**
 * The agent's own command line, for `machine up` and `machine down` only. One JSON line on stdout:
 * `{"ok":true,…}` or `{"ok":false,"error":WireError}` with exit status 1.
 */
const bundle = fileURLToPath(import.meta.url);

const commands: Readonly<Record<string, (home: () => AgentHome) => Promise<object | undefined>>> = {
  init: async () => initAgent(JSON.parse(await readStdin()), agentVersion),
  start: (home) => startDaemon(home(), bundle),
  stop: async (home) => ({ stopped: await stopDaemon(home()), running: runningExecs(home()) }),
  purge: async (home) => ({ purged: await purgeHome(home()) }),
  daemon: async (home) => {
    await runDaemon(home(), { bundle, shim: join(dirname(bundle), 'shim.sh') });
    return undefined;
  },
  bridge: async (home) => {
    await runBridge(home(), process.stdin, process.stdout);
    return undefined;
  },
  version: async () => ({ version: agentVersion }),
};

async function main(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: { home: { type: 'string' } },
    allowPositionals: true,
  });
  const command = Object.hasOwn(commands, positionals[0] ?? '') ? commands[positionals[0] ?? ''] : undefined;
  if (!command) throw new RemoteError('usage', `agent: one of ${Object.keys(commands).join(', ')}`);
  const home = (): AgentHome => {
    if (!values.home) throw new RemoteError('usage', 'agent: --home is missing');
    return agentHome(values.home);
  };
  const answer = await command(home);
  if (answer) process.stdout.write(`${JSON.stringify({ ok: true, ...answer })}\n`);
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

process.umask(0o077);
main(process.argv.slice(2)).then(
  // Streams of a bridge may still hold the loop open; what had to be done is done.
  () => process.stdout.write('', () => process.exit(0)),
  (error: unknown) => {
    process.stdout.write(`${JSON.stringify({ ok: false, error: RemoteError.from(error).toWire() })}\n`, () =>
      process.exit(1),
    );
  },
);
