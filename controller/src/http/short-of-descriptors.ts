import { closeSync, openSync } from 'node:fs';
import type { Socket } from 'node:net';
import { RemoteError } from '@codex-remote/protocol/wire';

/** What a request needs beside its connection: a new tunnel's processes and pipes, a file of the registry. */
const neededDescriptors = 12;
/** A caller that does not go after its refusal. */
const goneMs = 2_000;

/** True where a new request could end in the middle for want of descriptors, and take what runs with it. */
export function isShortOfDescriptors(): boolean {
  const held: number[] = [];
  try {
    for (let i = 0; i < neededDescriptors; i++) held.push(openSync('/dev/null', 'r'));
    return false;
  } catch {
    return true;
  } finally {
    for (const fd of held) closeSync(fd);
  }
}

/** Tells the caller `fds_exhausted` and ends its connection, which is ours from here on. */
export function refuseForDescriptors(socket: Socket, build: string): void {
  const error = new RemoteError('fds_exhausted', 'the controller has no file descriptors left for more', {
    hint: 'end some `--follow` and `watch`, or raise `ulimit -n` and restart the controller; what runs goes on',
    sent: 'no',
  });
  const body = JSON.stringify({ error: error.toWire() });
  const head = [
    `HTTP/1.1 ${error.kind.http} Service Unavailable`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    `x-codex-remote-build: ${build}`,
    'connection: close',
  ];
  socket.on('error', () => socket.destroy());
  // Read on: a socket that is closed with bytes unread loses what was written to it.
  socket.resume();
  socket.setTimeout(goneMs, () => socket.destroy());
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}
