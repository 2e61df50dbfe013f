import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { BlackholePort, freePort, SshLab } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needsSystem } from '../../src/ssh/open-transport.ts';
import { resolveHost } from '../../src/ssh/resolve.ts';
import type { HostTransport } from '../../src/ssh/transport.ts';
import { connectTo, environmentOf, type Kind, output } from './connect.ts';

let lab: SshLab;

beforeAll(async () => {
  lab = await SshLab.open({ server: { hostKeys: ['ed25519', 'ecdsa'] } });
});

afterAll(() => lab.close());

describe.each<Kind>(['ssh2', 'system'])('a machine over %s', (kind) => {
  /** Connects with a config of these blocks, gives the transport to `use` and closes it. */
  async function through<T>(
    blocks: string[],
    use: (transport: HostTransport) => Promise<T>,
    more: { authSock?: string; accept?: string; timeoutMs?: number } = {},
  ): Promise<T> {
    const environment = environmentOf(await lab.writeConfig(...blocks), more.authSock);
    const transport = await connectTo('box', environment, kind, {
      ...(more.accept === undefined ? {} : { acceptHostKey: more.accept }),
      ...(more.timeoutMs === undefined ? {} : { timeoutMs: more.timeoutMs }),
    });
    try {
      return await use(transport);
    } finally {
      await transport.close();
    }
  }

  const whoami = async (transport: HostTransport) =>
    (await output(transport, 'id -un')).stdout.trim().split('\n').at(-1);
  const withKnownHosts = async <T>(lines: string[], use: () => Promise<T>, options = {}): Promise<T> => {
    await lab.writeKnownHosts(lines, options);
    try {
      return await use();
    } finally {
      await lab.writeKnownHosts([lab.hostLine(lab.server)]);
    }
  };

  it('is reached by an alias with Port, User and IdentityFile', async () => {
    expect(await through([lab.hostBlock('box')], whoami)).toContain(lab.user.name);
  });

  it('runs programs: exit codes, signals, both streams, stdin and bytes as they are', async () => {
    await through([lab.hostBlock('box')], async (transport) => {
      expect(await output(transport, 'exit 7')).toMatchObject({ code: 7 });
      expect(await output(transport, 'exit 255')).toMatchObject({ code: 255 });
      expect(await output(transport, 'echo words >&2')).toMatchObject({
        code: 0,
        stderr: expect.stringContaining('words\n'),
      });
      const bytes = randomBytes(5_000_000);
      const process = await transport.exec('sha256sum');
      process.stdin.end(bytes);
      process.stderr.resume();
      let stdout = '';
      process.stdout.on('data', (chunk: Buffer) => {
        stdout += chunk.toString();
      });
      await process.exited;
      expect(stdout).toContain(createHash('sha256').update(bytes).digest('hex'));
      await transport.ping();
    });
  });

  it('is reached with a key that only the agent has', async () => {
    const key = await lab.makeKey(`agent-${kind}`, { type: 'rsa' });
    const user = await lab.addUser();
    await lab.authorize(user, [key]);
    const agent = await lab.startAgent([key]);
    const block = lab.hostBlock('box', { user, key: null });
    expect(await through([block], whoami, { authSock: agent.socket })).toContain(user.name);
  });

  it('finds the right key in an agent with more keys than the server takes attempts, because the config names it', async () => {
    const keys = await Promise.all(Array.from({ length: 7 }, (_, i) => lab.makeKey(`crowd-${kind}-${i}`)));
    const last = keys[6];
    if (last === undefined) throw new Error('seven keys');
    const user = await lab.addUser();
    await lab.authorize(user, [last]);
    const agent = await lab.startAgent(keys);
    const server = lab.server;
    expect(
      await through([lab.hostBlock('box', { user, server, key: last })], whoami, { authSock: agent.socket }),
    ).toContain(user.name);
  });

  it('is reached through a jump host, whose key is checked as well', async () => {
    const jump = await lab.startServer();
    const near = lab.hostBlock('near', { server: jump });
    const far = lab.hostBlock('box', { more: ['ProxyJump near'] });
    await withKnownHosts([lab.hostLine(lab.server), lab.hostLine(jump)], async () => {
      expect(await through([near, far], whoami)).toContain(lab.user.name);
      await expect.poll(() => jump.log).toContain('Accepted publickey');
    });
    await expect(through([near, far], whoami)).rejects.toMatchObject({
      code: 'host_key_unknown',
      details: { facts: { port: jump.port, fingerprint: jump.hostKeys[0]?.fingerprint } },
    });
  });

  it('is known by a hashed line for [host]:port', async () => {
    await withKnownHosts([lab.hostLine(lab.server)], () => through([lab.hostBlock('box')], whoami), {
      hashed: true,
    });
  });

  it('is asked for the key type that is known, whichever comes first by default', async () => {
    const ecdsa = lab.server.hostKeys[1];
    const line = `[127.0.0.1]:${lab.server.port} ${ecdsa?.publicLine}`;
    await withKnownHosts([line], () => through([lab.hostBlock('box')], whoami));
  });

  it('with an unknown key is refused, its fingerprint shown and nothing stored; accepting that one stores it [row 104]', async () => {
    await withKnownHosts([], async () => {
      const refused = await through([lab.hostBlock('box')], whoami).catch((error: unknown) => error);
      const fingerprints = lab.server.hostKeys.map((key) => key.fingerprint);
      expect(refused).toMatchObject({
        code: 'host_key_unknown',
        details: { facts: { port: lab.server.port } },
      });
      const { fingerprint } = (refused as { details: { facts: { fingerprint: string } } }).details.facts;
      expect(fingerprints).toContain(fingerprint);
      expect((refused as { details: { hint: string } }).details.hint).toContain(
        `--accept-host-key ${fingerprint}`,
      );
      expect(await lab.readKnownHosts()).toBe('');

      await expect(
        through([lab.hostBlock('box')], whoami, { accept: 'SHA256:another' }),
      ).rejects.toMatchObject({ code: 'host_key_unknown' });
      expect(await lab.readKnownHosts()).toBe('');

      await through([lab.hostBlock('box')], whoami, { accept: fingerprint });
      expect((await lab.readKnownHosts()).trim().split('\n')).toHaveLength(1);
      await through([lab.hostBlock('box')], whoami);
    });
  });

  it('an accepted key is not stored when the login fails [row 104]', async () => {
    const stranger = await lab.makeKey(`stranger-${kind}`);
    const accept = lab.server.hostKeys[0]?.fingerprint ?? '';
    await withKnownHosts([], async () => {
      const config = lab.hostBlock('box', { key: stranger });
      await expect(through([config], whoami, { accept })).rejects.toMatchObject({ code: 'ssh_auth_failed' });
      if (kind === 'ssh2') expect(await lab.readKnownHosts()).toBe('');
    });
  });

  it('with a changed key is refused, also where accepting is asked for or checking is off [row 104]', async () => {
    const other = await lab.makeKey(`other-${kind}`);
    const line = `[127.0.0.1]:${lab.server.port} ${other.publicLine}`;
    await withKnownHosts([line], async () => {
      const accept = lab.server.hostKeys[0]?.fingerprint ?? '';
      const lax = lab.hostBlock('box', { more: ['StrictHostKeyChecking no'] });
      for (const block of [lab.hostBlock('box'), lax]) {
        await expect(through([block], whoami, { accept })).rejects.toMatchObject({
          code: 'host_key_changed',
          details: { facts: { known: [other.fingerprint] } },
        });
      }
      expect((await lab.readKnownHosts()).trim()).toBe(line);
    });
  });

  it('with a key that nobody may log in with says what was tried', async () => {
    const stranger = await lab.makeKey(`nobody-${kind}`);
    await expect(through([lab.hostBlock('box', { key: stranger })], whoami)).rejects.toMatchObject({
      code: 'ssh_auth_failed',
      details: {
        hint: expect.stringContaining('ssh-add'),
        facts: {
          user: lab.user.name,
          tried: expect.arrayContaining([expect.stringContaining(stranger.path)]),
        },
      },
    });
  });

  it('with a locked key says how to unlock it', async () => {
    const locked = await lab.makeKey(`locked-${kind}`, { passphrase: 'secret words' });
    const failure = await through([lab.hostBlock('box', { key: locked })], whoami).catch(
      (error: unknown) => error,
    );
    expect(failure).toMatchObject({
      code: 'ssh_auth_failed',
      details: { hint: expect.stringContaining('ssh-add') },
    });
    expect(JSON.stringify(failure)).not.toContain('secret');
  });

  it.each([
    ['a closed port', closedPort],
    ['a port that swallows packets', () => BlackholePort.open()],
    ['a server that never says a word', silentServer, 1_500],
  ])('behind %s is unreachable once our limit is over', async (_what, make, timeoutMs?: number) => {
    const place = await make();
    const start = performance.now();
    try {
      const block = `Host box\n  HostName 127.0.0.1\n  Port ${place.port}\n  User nobody`;
      await expect(
        through([block], whoami, timeoutMs === undefined ? {} : { timeoutMs }),
      ).rejects.toMatchObject({
        code: 'ssh_unreachable',
        details: { facts: { port: place.port } },
      });
      expect(performance.now() - start).toBeLessThan(20_000);
    } finally {
      await place.close();
    }
  });

  it('with a name that does not exist is unreachable', async () => {
    await expect(
      through(['Host box\n  HostName no-such-host.invalid\n  User nobody'], whoami),
    ).rejects.toMatchObject({ code: 'ssh_unreachable' });
  });

  it('with a known_hosts file that cannot be read is not connected to [row 104]', async () => {
    const config = await lab.writeConfig(lab.hostBlock('box', { more: [`UserKnownHostsFile ${lab.dir}`] }));
    await expect(connectTo('box', environmentOf(config), kind)).rejects.toMatchObject({
      code: 'ssh_config_invalid',
    });
  });

  it('carries connections of a Unix socket there to here, half-closed ones too', async () => {
    await through([lab.hostBlock('box')], async (transport) => {
      const path = `${lab.user.home}/${kind}.sock`;
      const connections: Duplex[] = [];
      const forwarding = await transport.forward?.(path, (connection) => {
        connections.push(connection);
        connection.pipe(connection);
      });
      await lab.user.write('client.py', client, 0o755);
      const bytes = 3_000_000;
      const { stdout } = await output(transport, `python3 ~/client.py ~/${kind}.sock ${bytes}`);
      expect(stdout).toContain(`echoed ${bytes}`);
      expect(connections).toHaveLength(1);
      await expect.poll(() => connections[0]?.destroyed).toBe(true);
      await forwarding?.close();
      expect((await output(transport, `python3 ~/client.py ~/${kind}.sock 10`)).stdout).not.toContain(
        'echoed',
      );
    });
  });

  it('says that forwarding is refused', async () => {
    const server = await lab.startServer({ config: ['DisableForwarding yes'] });
    await withKnownHosts([lab.hostLine(server)], () =>
      through([lab.hostBlock('box', { server })], async (transport) => {
        await expect(transport.forward?.(`${lab.user.home}/x.sock`, () => undefined)).rejects.toMatchObject({
          code: 'ssh_unreachable',
          details: { facts: { forwarding: 'refused' } },
        });
        expect(await whoami(transport)).toContain(lab.user.name);
      }),
    );
  });

  it('ends everything when the connection breaks, and says so', async () => {
    const server = await lab.startServer();
    await withKnownHosts([lab.hostLine(server)], async () => {
      const environment = environmentOf(await lab.writeConfig(lab.hostBlock('box', { server })));
      const transport = await connectTo('box', environment, kind);
      const process = await transport.exec('exec sleep 1000');
      process.stdout.resume();
      process.stderr.resume();
      await server.dropConnections();
      expect(await transport.closed).toMatchObject({
        code: 'connection_reset',
        message: expect.stringContaining('connection reset by peer'),
      });
      await process.exited;
      await expect(transport.exec('true')).rejects.toMatchObject({ code: 'connection_reset' });
      await expect(transport.ping()).rejects.toMatchObject({ code: 'connection_reset' });
      await transport.close();
    });
  });

  it('is given up when its caller goes away', async () => {
    const place = await silentServer();
    const caller = new AbortController();
    try {
      const config = await lab.writeConfig(
        `Host box\n  HostName 127.0.0.1\n  Port ${place.port}\n  User nobody`,
      );
      const attempt = connectTo('box', environmentOf(config), kind, { signal: caller.signal });
      attempt.catch(() => undefined);
      await place.reached;
      caller.abort();
      await expect(attempt).rejects.toMatchObject({ code: 'cancelled' });
    } finally {
      await place.close();
    }
  });
});

describe('the choice of the transport', () => {
  it('is the system ssh where the configuration asks for what only it can do', async () => {
    const blocks = [lab.hostBlock('box', { more: ['ProxyCommand nc %h %p'] })];
    const proxied = environmentOf(await lab.writeConfig(...blocks));
    expect(await needsSystem(await resolveHost('box', proxied))).toBe(true);
    const plain = environmentOf(await lab.writeConfig(lab.hostBlock('box')));
    expect(await needsSystem(await resolveHost('box', plain))).toBe(false);
    const certified = await lab.makeKey('certified');
    await writeFile(`${certified.path}-cert.pub`, 'a certificate');
    const withCertificate = environmentOf(await lab.writeConfig(lab.hostBlock('box', { key: certified })));
    expect(await needsSystem(await resolveHost('box', withCertificate))).toBe(true);
  });
});

const client = `import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
n = int(sys.argv[2])
import threading
threading.Thread(target=lambda: (s.sendall(b'x' * n), s.shutdown(socket.SHUT_WR))).start()
got = 0
while True:
    b = s.recv(65536)
    if not b: break
    got += len(b)
print('echoed', got)
`;

async function closedPort(): Promise<{ port: number; close: () => Promise<void> }> {
  return { port: await freePort(), close: () => Promise.resolve() };
}

async function silentServer(): Promise<{ port: number; reached: Promise<void>; close: () => Promise<void> }> {
  const sockets: Socket[] = [];
  let reach = (): void => undefined;
  const reached = new Promise<void>((resolve) => {
    reach = resolve;
  });
  const server = createServer((socket) => {
    sockets.push(socket.on('error', () => undefined));
    reach();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  return { port: address.port, reached, close };
}
