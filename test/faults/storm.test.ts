import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadOrCreateIdentity, systemClock } from '@codex-remote/platform';
import { call, RemoteError, type Session } from '@codex-remote/protocol/wire';
import { sized, waitFor } from '@codex-remote/test/lab';
import { pino } from 'pino';
import { afterEach, expect, test } from 'vitest';
import { Gateway } from '../../controller/src/gateway/gateway.ts';
import { Links } from '../../controller/src/links/links.ts';

/** A socket that listens and one that is connected for each. */
const most = Math.floor((openFiles() - 1_000) / 2);
const count = Math.min(most, sized({ ci: 400, full: 10_000 }));
/** Those of machine 0, whose session stays, are measured. */
const callsAtLeast = 20;

const dir = mkdtempSync(join(tmpdir(), 'storm-'));
const servers: Server[] = [];
let agents: ChildProcess | undefined;
afterEach(async () => {
  if (agents?.exitCode === null) {
    const exit = once(agents, 'exit');
    agents.kill('SIGKILL');
    await exit;
  }
  for (const server of servers) server.close();
  rmSync(dir, { recursive: true, force: true });
});

test('hundreds of agents lose their connection at once: all are back, and the one that kept its own is answered meanwhile [row 59]', {
  timeout: 600_000,
}, async () => {
  const identity = loadOrCreateIdentity(join(dir, 'controller.pem'));
  const agent = loadOrCreateIdentity(join(dir, 'agent.pem'));
  const links = new Links(systemClock);
  const gateway = new Gateway({
    identity,
    clock: systemClock,
    log: pino({ level: 'silent' }),
    keyOf: () => agent.publicKey,
    admit: (hello) => links.of(hello.machine).admit(hello),
    connected: (session, hello) =>
      links.of(hello.machine).attach(session, { connection: 'tunnel', connectedSince: '', hello }),
  });
  for (let index = 0; index < count; index++) {
    const arrival = { via: 'tunnel', machine: `m${index}` } as const;
    const server = createServer((socket) => gateway.accept(socket, arrival)).listen(
      join(dir, `${index}.sock`),
    );
    servers.push(server);
    await once(server, 'listening');
  }
  const program = join(import.meta.dirname, 'programs/agents.ts');
  agents = spawn(process.execPath, [program, dir, identity.publicKey, String(count)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const all = () => links.connected().length === count;
  await waitFor('all to connect', all, 300_000);

  const kept = sessionOf(links, 0);
  const before = process.memoryUsage().rss;
  const lost = Array.from({ length: count - 1 }, (_, index) => sessionOf(links, index + 1));
  for (const session of lost) session.end(new RemoteError('peer_silent', 'the network broke'));
  const latencies: number[] = [];
  while (!all() || latencies.length < callsAtLeast) {
    const began = performance.now();
    await call(kept, 'agent.info', {});
    latencies.push(performance.now() - began);
    expect(latencies.reduce((sum, ms) => sum + ms, 0)).toBeLessThan(300_000);
  }
  expect(kept.ended).toBe(undefined);
  expect(latencies.sort((a, b) => a - b)[Math.floor(latencies.length * 0.99)]).toBeLessThan(1_000);
  for (const index of [1, count - 1])
    expect(await call(sessionOf(links, index), 'agent.info', {})).toEqual({ verb: 'agent.info' });
  // An old session and a new one for each at most, far from a leak.
  expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024 + count * 64 * 1024);
  links.closeAll();
  gateway.close();
});

function sessionOf(links: Links, index: number): Session {
  const session = links.of(`m${index}`).live?.session;
  if (!session) throw new Error(`m${index} is not connected`);
  return session;
}

/** How many descriptors a process may have, see getrlimit(2). */
function openFiles(): number {
  const [, soft] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
}
