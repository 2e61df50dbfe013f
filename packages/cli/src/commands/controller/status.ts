import { oneLine } from '@codex-remote/client';
import type { ControllerStatus, DirectStatus } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { command } from '../../table/command.ts';

export const controllerStatus = command({
  name: 'controller status',
  summary: 'Say whether the controller runs. Starts none.',
  flags: {},
  examples: [['status', 'controller status']],
  async run(_values, { client, paths, remote }) {
    const where = remote ? { url: remote.url } : { socket: paths.socket };
    try {
      const status = await client.status();
      return {
        value: { ok: true, ...runningAnswer(status), ...where },
        exit: 0,
        human: () =>
          [
            oneLine(
              `running (pid ${status.pid}, ${status.version}, since ${status.started_at}) ${place(where)}`,
            ),
            ...directText(status),
          ].join('\n'),
      };
    } catch (error) {
      // Of one that is elsewhere nobody can say that it does not run.
      if (!(error instanceof RemoteError) || error.code !== 'controller_unreachable' || remote) throw error;
      return {
        value: { ok: true, running: false, ...where },
        exit: 0,
        human: () => `not running ${place(where)}`,
      };
    }
  },
});

function place(where: { url: string } | { socket: string }): string {
  return 'url' in where ? `at ${where.url}` : `on ${where.socket}`;
}

export function runningAnswer(status: ControllerStatus) {
  const { running, pid, version, build, socket, started_at, machines_connected, ...direct } = status;
  return { running, pid, version, socket, started_at, build, machines_connected, ...direct };
}

/** How it is reached over the network, a line a fact; nothing where it is not. */
export function directText(status: DirectStatus): string[] {
  const { listen, listen_error, public_url, certificate_sha256, certificate_expires_at } = status;
  const { next_certificate_sha256, next_certificate_from } = status;
  return [
    ...(listen_error ? [`does not listen: ${listen_error.message}`] : []),
    ...(listen !== undefined && !listen_error
      ? [`listens on ${listen}${public_url === undefined ? '' : `, public as ${public_url}`}`]
      : []),
    ...(certificate_sha256 === undefined
      ? []
      : [`certificate sha256//${certificate_sha256}, until ${certificate_expires_at}`]),
    ...(next_certificate_sha256 === undefined
      ? []
      : [`the next one, sha256//${next_certificate_sha256}, serves from ${next_certificate_from}`]),
  ].map(oneLine);
}
