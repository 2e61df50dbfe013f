import { ControllerClient } from '@codex-remote/client';
import { controllerPaths, newId } from '@codex-remote/platform';
import type { ExecSpec } from '@codex-remote/protocol/schema';
import { Cli } from '../src/lab/index.ts';
import { benchRounds, type Figure, summarise } from './measure.ts';

/** A client that stays: start to finished of `true`, all durability included. */
export async function warmExec(): Promise<Figure & { goal: string }> {
  const cli = await Cli.open();
  try {
    await cli.json(['machine', 'up', 'local']);
    const client = new ControllerClient({ socket: controllerPaths(cli.env).socket });
    const once = async (): Promise<number> => {
      const began = performance.now();
      for await (const record of client.runExec({
        machine: 'local',
        spec: specOf('true'),
        connectWaitMs: 0,
      })) {
        if (
          record.kind === 'event' &&
          typeof record.value === 'object' &&
          record.value !== null &&
          'finished' in record.value
        )
          return performance.now() - began;
      }
      throw new Error('the stream ended before the exec');
    };
    for (let i = 0; i < 20; i++) await once();
    const sample: number[] = [];
    for (let i = 0; i < benchRounds * 10; i++) sample.push(await once());
    return { ...summarise(sample, 'ms'), goal: 'median <= 7' };
  } finally {
    await cli.close();
  }
}

function specOf(program: string): ExecSpec {
  return {
    exec_id: newId(Date.now()),
    command: { kind: 'argv', argv: [program] },
    env: {},
    stdin: false,
    merge: false,
    mode: 'run',
  };
}
