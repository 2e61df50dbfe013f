import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Lock, takeLock } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';

/** From being asked to stop to the free lock: answers under way get 2 s. */
const goneMs = 10_000;
/** Callers of the older release start theirs again, which takes them a hundred times as long. */
const pollMs = 2;
const answerMs = 5_000;

/**
 * The lock of a controller that is asked to stop, taken the moment it is free. Throws `already_running` when a controller
 * of another build than `replaced` serves, or the one of that build does not end; without `replaced` it is any.
 */
export async function takeOver(lockPath: string, socket: string, replaced?: string): Promise<Lock> {
  const until = performance.now() + goneMs;
  for (let asked = false; ; ) {
    try {
      return takeLock(lockPath);
    } catch (error) {
      if (RemoteError.from(error).code !== 'already_running' || performance.now() > until) throw error;
      if (!asked && !(await askToStop(socket, replaced))) throw error;
      asked = true;
    }
    await sleep(pollMs);
  }
}

/** False when the controller there says that it is another. One that does not answer is on its way out. */
function askToStop(socket: string, build: string | undefined): Promise<boolean> {
  return new Promise((resolve) => {
    const call = request({
      socketPath: socket,
      path: '/v1/controller/stop',
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
      timeout: answerMs,
    });
    call.on('response', (response) => {
      response.resume();
      resolve(response.statusCode !== 409);
    });
    call.on('error', () => resolve(true));
    call.on('timeout', () => call.destroy());
    call.end(JSON.stringify({ build }));
  });
}
