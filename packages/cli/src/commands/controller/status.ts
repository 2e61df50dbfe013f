import { oneLine } from '@codex-remote/client';
import type { ControllerStatus } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { command } from '../../table/command.ts';

export const controllerStatus = command({
  name: 'controller status',
  summary: 'Say whether the controller runs. Starts none.',
  flags: {},
  examples: [['status', 'controller status']],
  async run(_values, { client, paths }) {
    try {
      const status = await client.status();
      return {
        value: { ok: true, ...runningAnswer(status) },
        exit: 0,
        human: () =>
          oneLine(
            `running (pid ${status.pid}, ${status.version}, since ${status.started_at}) on ${status.socket}`,
          ),
      };
    } catch (error) {
      if (!(error instanceof RemoteError) || error.code !== 'controller_unreachable') throw error;
      return {
        value: { ok: true, running: false, socket: paths.socket },
        exit: 0,
        human: () => `not running (socket ${paths.socket})`,
      };
    }
  },
});

export function runningAnswer({
  running,
  pid,
  version,
  build,
  socket,
  started_at,
  machines_connected,
}: ControllerStatus) {
  return { running, pid, version, socket, started_at, build, machines_connected };
}
