import type { ControllerStatus, DirectStatus } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { numberOf, objectOf, stringOf } from './shape.ts';

const directTexts = [
  'listen',
  'public_url',
  'certificate_sha256',
  'certificate_expires_at',
  'next_certificate_sha256',
  'next_certificate_from',
] as const satisfies readonly (keyof DirectStatus)[];

/** Throws `protocol_error` for what is no status. */
export function readControllerStatus(answer: unknown): ControllerStatus {
  const value = objectOf(answer, 'controller');
  const direct: DirectStatus = {};
  for (const name of directTexts) if (value[name] !== undefined) direct[name] = stringOf(value[name], name);
  if (value.listen_error !== undefined)
    direct.listen_error = RemoteError.fromWire(value.listen_error).toWire();
  return {
    running: true,
    pid: numberOf(value.pid, 'pid'),
    version: stringOf(value.version, 'version'),
    build: stringOf(value.build, 'build'),
    ...(value.socket === undefined ? {} : { socket: stringOf(value.socket, 'socket') }),
    started_at: stringOf(value.started_at, 'started_at'),
    machines_connected: numberOf(value.machines_connected, 'machines_connected'),
    ...direct,
  };
}
