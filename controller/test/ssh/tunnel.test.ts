import { createServer, type Server } from 'node:http';
import { systemClock } from '@codex-remote/platform';
import { type Sshd, SshLab } from '@codex-remote/test/lab';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { answersWithin, Tunnel, type TunnelOptions, type TunnelState } from '../../src/ssh/tunnel.ts';
import { connectTo, environmentOf, type Kind, output } from './connect.ts';

let lab: SshLab;
let runDir: string;
let web: Server;
const open: Tunnel[] = [];

beforeAll(async () => {
  lab = await SshLab.open();
  runDir = `${lab.user.home}/run`;
  await lab.user.write('run/keep', '');
  await lab.user.write('get.py', get);
  // In the place of an agent's bridge: it serves one connection of a socket over its stdio.
  await lab.user.write('bridge.py', bridge);
  web = createServer((request, response) => {
    request.resume();
    request.on('end', () => response.end(`answer to ${request.url}`));
  });
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((tunnel) => tunnel.close()));
});

afterAll(() => lab.close());

describe.each<Kind>(['ssh2', 'system'])('a tunnel over %s', (kind) => {
  async function start(
    server: Sshd,
    more: Partial<TunnelOptions> = {},
  ): Promise<{ tunnel: Tunnel; states: TunnelState[] }> {
    await lab.writeKnownHosts([lab.hostLine(lab.server), lab.hostLine(server)]);
    const environment = environmentOf(await lab.writeConfig(lab.hostBlock('box', { server })));
    const states: TunnelState[] = [];
    const tunnel = new Tunnel({
      clock: systemClock,
      random: () => 0,
      connect: (signal) => connectTo('box', environment, kind, { signal }),
      runDir,
      installed: { node: '/usr/bin/python3', agent: `${lab.user.home}/bridge.py`, home: runDir },
      onConnection: (connection) => web.emit('connection', connection),
      onState: (state) => states.push(state),
      ...more,
    });
    open.push(tunnel);
    return { tunnel, states };
  }

  /** Asks the newest socket in the run folder for a page, on the machine. */
  async function ask(tunnel: Tunnel, page: string): Promise<string> {
    const { transport } = tunnel;
    if (transport === undefined) throw new Error('no connection');
    return (await output(transport, `python3 ~/get.py ~/run /${page}`)).stdout;
  }

  const sockets = async (): Promise<string | undefined> =>
    (await output(await other(), 'cd ~/run && echo socket: *.sock')).stdout.split('socket: ').at(-1)?.trim();
  const other = async () => {
    const transport = await connectTo(
      'side',
      environmentOf(await lab.writeConfig(lab.hostBlock('side'))),
      'ssh2',
    );
    sides.push(transport);
    return transport;
  };
  const sides: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    await Promise.all(sides.splice(0).map((side) => side.close()));
  });

  it('lets the machine dial an HTTP server here, sweeps dead sockets and leaves none [row 101]', async () => {
    await lab.user.write('run/t-dead.sock', '');
    const { tunnel } = await start(lab.server);
    expect(await tunnel.opened()).toBe('tunnel');
    expect(await ask(tunnel, 'one')).toContain('answer to /one');
    expect(await ask(tunnel, 'two')).toContain('answer to /two');
    await expect.poll(sockets).toMatch(/^t-[0-9a-f]{16}\.sock$/);
    await tunnel.close();
    expect(await sockets()).toBe('*.sock');
    expect(tunnel.state).toEqual({ status: 'stopped' });
  });

  it('is bridged where the server refuses forwarding', async () => {
    const server = await lab.startServer({ config: ['DisableForwarding yes'] });
    const { tunnel } = await start(server);
    expect(await tunnel.opened()).toBe('bridge');
    // Open means that the bridge runs; its socket appears a moment later, and an agent watches for it.
    await expect.poll(async () => ask(tunnel, 'bridged')).toContain('answer to /bridged');
    // The bridge carried its one connection; the next one is there for the next.
    await expect.poll(async () => ask(tunnel, 'again')).toContain('answer to /again');
    await tunnel.close();
    await expect
      .poll(async () =>
        (await output(await other(), 'pgrep -u "$(id -u)" -f bridge.py; true')).stdout
          .trim()
          .split('\n')
          .at(-1),
      )
      .not.toMatch(/^\d+$/);
  });

  it('is released: no bridge follows the one that ended, and the connection goes on for who has it', async () => {
    const server = await lab.startServer({ config: ['DisableForwarding yes'] });
    const { tunnel } = await start(server);
    await tunnel.opened();
    const transport = await tunnel.release();
    if (transport === undefined) throw new Error('nothing was released');
    sides.push(transport);
    expect(tunnel.state).toEqual({ status: 'stopped' });
    const bridges = "pgrep -u $(id -u) -f '[b]ridge.py' >/dev/null && echo some || echo none";
    await expect.poll(async () => (await output(transport, bridges)).stdout).toContain('none');
  });

  it('comes back by itself after the connection broke, with a new socket', async () => {
    const server = await lab.startServer();
    const { tunnel, states } = await start(server);
    await tunnel.opened();
    await server.dropConnections();
    await expect.poll(() => states.filter((state) => state.status === 'open').length).toBe(2);
    expect(states.map((state) => state.status)).toEqual([
      'connecting',
      'open',
      'waiting',
      'connecting',
      'open',
    ]);
    expect(await ask(tunnel, 'back')).toContain('answer to /back');
    await expect.poll(sockets).toMatch(/^t-[0-9a-f]{16}\.sock$/);
  });

  it('waits while the server is away, and tries at once when asked to', async () => {
    const server = await lab.startServer();
    const { tunnel, states } = await start(server, { random: () => 0.999 });
    await tunnel.opened();
    const { port } = server;
    await server.stop();
    await expect.poll(() => states.filter((state) => state.status === 'waiting').length).toBeGreaterThan(2);
    expect(tunnel.state).toMatchObject({ status: 'waiting', error: { code: 'ssh_unreachable' } });
    const again = await lab.startServer({ port });
    await lab.writeKnownHosts([lab.hostLine(lab.server), lab.hostLine(again)]);
    tunnel.retryNow();
    expect(await tunnel.opened()).toBe('tunnel');
  });

  it('stops for good when the host key has changed, and tells those who wait [row 104]', async () => {
    const server = await lab.startServer();
    const { tunnel, states } = await start(server);
    await tunnel.opened();
    const key = await lab.makeKey(`changed-${kind}`);
    await lab.writeKnownHosts([lab.hostLine(lab.server), `[127.0.0.1]:${server.port} ${key.publicLine}`]);
    await server.dropConnections();
    await expect
      .poll(() => states.at(-1))
      .toMatchObject({ status: 'stopped', error: { code: 'host_key_changed' } });
    await expect(tunnel.opened()).rejects.toMatchObject({ code: 'host_key_changed' });
  });

  it('drops a connection under suspicion that does not answer', async () => {
    const server = await lab.startServer();
    const { tunnel, states } = await start(server);
    await tunnel.opened();
    await tunnel.suspect();
    expect(tunnel.state.status).toBe('open');
    const sessions = await server.sessions();
    for (const pid of sessions) process.kill(pid, 'SIGSTOP');
    await tunnel.suspect();
    for (const pid of sessions) process.kill(pid, 'SIGKILL');
    await expect.poll(() => states.filter((state) => state.status === 'open').length).toBe(2);
  });

  it('can be closed while it connects', async () => {
    const { tunnel } = await start(lab.server);
    await tunnel.close();
    expect(tunnel.state.status).toBe('stopped');
    await expect(tunnel.opened()).rejects.toMatchObject({ code: 'cancelled' });
  });
});

it('a ping that is never answered counts as no answer in time', async () => {
  const silent = { ping: () => new Promise<void>(() => undefined) };
  const transport = {
    ...silent,
    kind: 'ssh2' as const,
    description: 'x',
    exec: () => Promise.reject(new Error('no')),
    closed: new Promise<undefined>(() => undefined),
    close: async () => undefined,
  };
  expect(await answersWithin(transport, systemClock, 5)).toBe(false);
});

const get = `import socket, sys, glob, os
path = max(glob.glob(sys.argv[1] + '/t-*.sock'), key=os.path.getctime)
s = socket.socket(socket.AF_UNIX)
s.connect(path)
s.sendall(('GET %s HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' % sys.argv[2]).encode())
got = b''
while True:
    b = s.recv(65536)
    if not b: break
    got += b
print(got.decode())
`;

const bridge = `import socket, sys, os, select, threading
assert sys.argv[1:3] == ['bridge', '--home'], sys.argv
path = sys.argv[3] + '/t-%s.sock' % os.urandom(8).hex()
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(1)
# Before a connection nothing comes on stdin but its end.
while True:
    ready, _, _ = select.select([listener, 0], [], [])
    if listener in ready: break
    os.unlink(path)
    sys.exit(0)
s, _ = listener.accept()
os.unlink(path)
def up():
    while True:
        b = os.read(0, 65536)
        if not b: break
        s.sendall(b)
    s.shutdown(socket.SHUT_WR)
t = threading.Thread(target=up, daemon=True)
t.start()
while True:
    b = s.recv(65536)
    if not b: break
    os.write(1, b)
os.close(1)
t.join(5)
`;
