import { RemoteError } from '@codex-remote/protocol/wire';
import { command } from '../../table/command.ts';

/** From the answer to the end of the process. */
const goneMs = 15_000;
const lookMs = 20;

export const controllerStop = command({
  name: 'controller stop',
  ownHost: true,
  summary: 'Stop the controller. Agents and execs go on.',
  flags: {},
  examples: [['stop', 'controller stop']],
  async run(_values, { client, clock }) {
    const until = clock.monotonic() + goneMs;
    let stopped = false;
    for (;;) {
      const unreachable = await (stopped ? client.status() : client.stop()).then(() => undefined, notRunning);
      if (unreachable !== undefined) break;
      stopped = true;
      if (clock.monotonic() > until)
        throw new RemoteError(
          'controller_unreachable',
          `the controller still answers ${goneMs / 1000} s after it was told to stop`,
        );
      await new Promise<void>((resolve) => clock.setTimer(lookMs, resolve));
    }
    return {
      value: { ok: true, running: false, stopped },
      exit: 0,
      human: () => (stopped ? 'stopped' : 'was not running'),
    };
  },
});

/** The error when it says that no controller is there; every other is thrown. */
function notRunning(error: unknown): RemoteError {
  if (
    error instanceof RemoteError &&
    (error.code === 'controller_unreachable' || error.code === 'stream_cut' || error.code === 'shutting_down')
  )
    return error;
  throw error;
}
