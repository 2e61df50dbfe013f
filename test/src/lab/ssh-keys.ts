import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface KeyPair {
  /** The private half; `${path}.pub` is the public one. */
  readonly path: string;
  /** `type base64 comment` */
  readonly publicLine: string;
  /** SHA256:… as ssh-keygen(1) prints it. */
  readonly fingerprint: string;
}

export type KeyType = 'ed25519' | 'ecdsa' | 'rsa';

/** A key pair made by ssh-keygen(1). */
export async function makeKey(
  path: string,
  options: { type?: KeyType; passphrase?: string; comment?: string } = {},
): Promise<KeyPair> {
  const type = options.type ?? 'ed25519';
  const bits = type === 'rsa' ? ['-b', '2048'] : [];
  await run('ssh-keygen', [
    '-q',
    '-t',
    type,
    ...bits,
    '-N',
    options.passphrase ?? '',
    '-C',
    options.comment ?? 'lab',
    '-f',
    path,
  ]);
  const publicLine = (await readFile(`${path}.pub`, 'utf8')).trim();
  const { stdout } = await run('ssh-keygen', ['-lf', `${path}.pub`]);
  const fingerprint = stdout.split(' ')[1];
  if (fingerprint === undefined) throw new Error(`ssh-keygen printed no fingerprint for ${path}`);
  return { path, publicLine, fingerprint };
}

/** A real ssh-agent(1) in the foreground, ended by pid. */
export class KeyAgent {
  readonly socket: string;
  readonly #child: ChildProcess;

  private constructor(socket: string, child: ChildProcess) {
    this.socket = socket;
    this.#child = child;
  }

  static async start(socket: string, keys: readonly KeyPair[]): Promise<KeyAgent> {
    const agent = new KeyAgent(socket, spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' }));
    try {
      await answering(socket);
      for (const key of keys) await agent.add(key);
    } catch (error) {
      await agent.stop();
      throw error;
    }
    return agent;
  }

  async add(key: KeyPair): Promise<void> {
    await run('ssh-add', ['-q', key.path], { env: { ...process.env, SSH_AUTH_SOCK: this.socket } });
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}

/** Waits until something accepts on `target`, a socket path or a loopback port. */
export async function answering(target: string | number, alive: () => boolean = () => true): Promise<void> {
  for (let attempt = 0; attempt < 500; attempt++) {
    if (!alive()) throw new Error(`what should listen on ${target} has ended`);
    const socket = typeof target === 'string' ? connect(target) : connect(target, '127.0.0.1');
    const answered = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (answered) return;
    await pause(10);
  }
  throw new Error(`nothing listens on ${target}`);
}
