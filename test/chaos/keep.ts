import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { machineNames } from './plan.ts';
import type { World } from './world.ts';

/** Copies the state of the controller and of every agent to the run's folder, without programs and sockets. */
export async function keepState(world: World): Promise<void> {
  const state = join(world.folder, 'state');
  await mkdir(state, { recursive: true });
  await keep(world.cli.home, join(state, 'controller'));
  for (const machine of machineNames)
    if (machine !== 'local') await keep(world.agentBase(machine), join(state, machine));
}

function keep(from: string, to: string): Promise<void> {
  const programs = /\/(?:store|cache|run)(?:\/|$)/;
  return cp(from, to, { recursive: true, filter: (path) => !programs.test(path.slice(from.length)) }).catch(
    (error: NodeJS.ErrnoException) => {
      // Files go while their owner lives; after a purge all of them have.
      if (error.code !== 'ENOENT') throw error;
    },
  );
}
