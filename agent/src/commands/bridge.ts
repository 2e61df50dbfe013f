import { randomBytes } from 'node:crypto';
import { unlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { RemoteError } from '@codex-remote/protocol/wire';
import { type AgentHome, readAgentConfig } from '../home.ts';

/**
 * Where the SSH server refuses forwarding: puts a socket into the run folder like a tunnel's and carries the one
 * connection that the agent dials over our stdin and stdout. Resolves when either side has ended; the controller then
 * starts the next bridge. The socket is gone on every path.
 */
export async function runBridge(home: AgentHome, input: Readable, output: Writable): Promise<void> {
  const endpoint = readAgentConfig(home).endpoints.find((candidate) => candidate.kind === 'tunnel');
  if (!endpoint)
    throw new RemoteError('state_unusable', 'the agent was not set up for tunnels', {
      hint: 'run `codex-remote machine up` again',
    });
  const path = join(endpoint.dir, `t-${randomBytes(8).toString('hex')}.sock`);
  const over = Promise.withResolvers<void>();
  // Read from the beginning, into a buffer of little: the end of an input that nobody reads is not seen, and where no agent
  // dials, a bridge whose SSH connection broke would wait for ever.
  const inbound = input.pipe(new PassThrough());
  const server = createServer((socket) => {
    server.close();
    socket.on('error', () => socket.destroy());
    socket.on('close', over.resolve);
    inbound.pipe(socket);
    socket.pipe(output, { end: false });
  });
  server.maxConnections = 1;
  server.on('error', over.reject);
  for (const stream of [input, output]) {
    stream.on('error', () => over.resolve());
    stream.on('close', () => over.resolve());
  }
  input.on('end', () => over.resolve());
  process.umask(0o077);
  server.listen(path);
  try {
    await over.promise;
  } finally {
    server.close();
    try {
      unlinkSync(path);
    } catch {
      // net unlinks it itself when the server closes; the folder may be gone with a purge.
    }
  }
}
