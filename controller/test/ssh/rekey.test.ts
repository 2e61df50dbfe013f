import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ssh2, { type Connection } from 'ssh2';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { HostKeyEvent } from '../../src/ssh/host-key-policy.ts';
import { connectTo, environmentOf, output } from './connect.ts';

/** What ssh2 has no other way to than its own fields: the keys that a server shows at the next exchange. */
interface Rekeying {
  readonly _protocol: { readonly _hostKeys: Record<string, unknown> };
  rekey(): void;
}

let dir: string;
let stop: () => void;
let connections: Connection[];
let config: string;
let known: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rekey-'));
  connections = [];
  const own = ssh2.utils.generateKeyPairSync('ed25519');
  const login = ssh2.utils.generateKeyPairSync('ed25519');
  const server = new ssh2.Server({ hostKeys: [own.private] }, (connection) => {
    connections.push(connection);
    connection.on('error', () => undefined);
    connection.on('authentication', (attempt) => attempt.accept());
    connection.on('session', (accept) => {
      accept().on('exec', (acceptExec) => {
        const stream = acceptExec();
        stream.write('here\n');
        stream.exit(0);
        stream.end();
      });
    });
  });
  const tcp = createServer((socket) => server.injectSocket(socket)).listen(0, '127.0.0.1');
  stop = () => {
    for (const connection of connections) connection.end();
    tcp.close();
  };
  await new Promise((resolve) => tcp.once('listening', resolve));
  const { port } = tcp.address() as AddressInfo;
  known = join(dir, 'known_hosts');
  await writeFile(known, `[127.0.0.1]:${port} ${own.public.split(' ').slice(0, 2).join(' ')}\n`);
  await writeFile(join(dir, 'id'), login.private, { mode: 0o600 });
  config = join(dir, 'config');
  await writeFile(
    config,
    [
      'Host box',
      '  HostName 127.0.0.1',
      `  Port ${port}`,
      '  User somebody',
      `  UserKnownHostsFile ${known}`,
      '  GlobalKnownHostsFile none',
      `  IdentityFile ${join(dir, 'id')}`,
      '  IdentitiesOnly yes',
    ].join('\n'),
  );
});
afterEach(async () => {
  stop();
  await rm(dir, { recursive: true, force: true });
});

test('another host key at a rekey ends the connection, and nothing is stored [row 104]', async () => {
  const told: HostKeyEvent[] = [];
  const before = await readFile(known, 'utf8');
  const transport = await connectTo('box', environmentOf(config), 'ssh2', {
    onHostKey: (event) => told.push(event),
  });
  expect(await output(transport, 'anything')).toMatchObject({ stdout: 'here\n', code: 0 });
  const connection = connections[0] as unknown as Rekeying;

  // The same key again: the connection goes on.
  connection.rekey();
  expect(await output(transport, 'anything')).toMatchObject({ stdout: 'here\n', code: 0 });
  expect(told).toEqual([]);

  const other = ssh2.utils.parseKey(ssh2.utils.generateKeyPairSync('ed25519').private);
  connection._protocol._hostKeys['ssh-ed25519'] = other;
  connection.rekey();
  expect(await transport.closed).toMatchObject({ code: 'connection_reset' });
  expect(told).toMatchObject([{ decision: 'changed' }]);
  expect(await readFile(known, 'utf8')).toBe(before);
  await expect(transport.exec('anything')).rejects.toMatchObject({ code: 'connection_reset' });
});
