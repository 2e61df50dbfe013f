import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

const listener = `
const server = require('node:net').createServer();
server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => process.stdout.write(String(server.address().port)));
`;

/**
 * A loopback port where connecting neither succeeds nor fails: the listener is stopped and its accept queue full, so the
 * kernel drops further SYNs (listen(2)). What a firewall that drops does.
 */
export class BlackholePort {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #queued: Socket[];

  private constructor(port: number, child: ChildProcess, queued: Socket[]) {
    this.port = port;
    this.#child = child;
    this.#queued = queued;
  }

  static async open(): Promise<BlackholePort> {
    const child = spawn(process.execPath, ['-e', listener], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [bytes] = (await once(child.stdout, 'data')) as [Buffer];
    child.kill('SIGSTOP');
    const port = Number(bytes.toString());
    const queued: Socket[] = [];
    for (let full = false; !full && queued.length < 32; ) {
      const socket = connect(port, '127.0.0.1').on('error', () => undefined);
      queued.push(socket);
      full = await new Promise<boolean>((resolve) => {
        const timer = setTimeout(() => resolve(true), 300);
        socket.once('connect', () => {
          clearTimeout(timer);
          resolve(false);
        });
      });
    }
    return new BlackholePort(port, child, queued);
  }

  async close(): Promise<void> {
    for (const socket of this.#queued) socket.destroy();
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}
