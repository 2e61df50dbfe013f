import { systemClock } from '@codex-remote/platform';
import { type OpenOptions, openTransport } from '../../src/ssh/open-transport.ts';
import type { SshEnvironment } from '../../src/ssh/openssh.ts';
import { resolveHost } from '../../src/ssh/resolve.ts';
import type { HostTransport, RemoteExit } from '../../src/ssh/transport.ts';

export type Kind = 'ssh2' | 'system';

export function environmentOf(configPath: string, authSock?: string): SshEnvironment {
  return {
    configPath,
    env: { PATH: process.env.PATH, HOME: process.env.HOME },
    ...(authSock === undefined ? {} : { authSock }),
  };
}

export async function connectTo(
  target: string,
  environment: SshEnvironment,
  transport: Kind,
  more: Partial<OpenOptions> = {},
): Promise<HostTransport> {
  return openTransport(await resolveHost(target, environment), {
    clock: systemClock,
    environment,
    transport,
    ...more,
  });
}

/** Runs a line on the machine to its end. */
export async function output(
  transport: HostTransport,
  line: string,
): Promise<RemoteExit & { stdout: string; stderr: string }> {
  const process = await transport.exec(line);
  process.stdin.end();
  const [stdout, stderr, exit] = await Promise.all([
    text(process.stdout),
    text(process.stderr),
    process.exited,
  ]);
  return { ...exit, stdout, stderr };
}

async function text(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString();
}
