import { setTimeout } from 'node:timers/promises';
import { ControllerClient } from '@codex-remote/client';
import { controllerPaths, newId } from '@codex-remote/platform';
import type { ExecSpec } from '@codex-remote/protocol/schema';
import { Cli } from '../src/lab/index.ts';
import { benchRounds, type Figure, summarise } from './measure.ts';

/** Between runs of a caller that looks at each answer before it asks again. */
const pauseMs = 60;

/** A client that stays: start to finished of `true`, all durability included; one at a time with pauses, and back to back. */
export async function warmExec(): Promise<{ goal: string; paused: Figure; back_to_back: Figure }> {
  const cli = await Cli.open();
  try {
    await cli.json(['machine', 'up', 'local']);
    const client = new ControllerClient({ socket: controllerPaths(cli.env).socket });
    const sample = async (afterMs: number): Promise<Figure> => {
      const times: number[] = [];
      for (let i = 0; i < benchRounds * 10; i++) {
        times.push(await timeOne(client));
        if (afterMs > 0) await setTimeout(afterMs);
      }
      return summarise(times, 'ms');
    };
    for (let i = 0; i < 20; i++) await timeOne(client);
    return {
      goal: 'paused: median <= 7',
      paused: await sample(pauseMs),
      back_to_back: await sample(0),
    };
  } finally {
    await cli.close();
  }
}

/** Milliseconds. Throws where the stream ends early. */
async function timeOne(client: ControllerClient): Promise<number> {
  const began = performance.now();
  const run = client.runExec({ machine: 'local', spec: specOf('true'), connectWaitMs: 0 });
  for await (const { kind, ...record } of run) {
    const value = kind === 'event' && 'value' in record ? record.value : undefined;
    if (typeof value === 'object' && value !== null && 'finished' in value) return performance.now() - began;
  }
  throw new Error('the stream ended before the exec');
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
