import { ControllerClient } from '@codex-remote/client';
import { controllerPaths } from '@codex-remote/platform';
import { Cli } from '../src/lab/index.ts';
import { summarise } from './measure.ts';

const logBytes = 2 * 1024 ** 3;

/** Raw bytes of a finished log from agent to client, over the controller's socket. */
export async function logThroughput(): Promise<unknown> {
  const cli = await Cli.open();
  try {
    await cli.json(['machine', 'up', 'local']);
    await cli.lines([
      'exec',
      'run',
      '-m',
      'local',
      '--id',
      'big-log',
      '--brief',
      '--cmd',
      `head -c ${logBytes} /dev/zero`,
    ]);
    const client = new ControllerClient({ socket: controllerPaths(cli.env).socket });
    const sample: number[] = [];
    for (let i = 0; i < 3; i++) {
      const began = performance.now();
      let bytes = 0;
      for await (const record of client.logs({ id: 'big-log' }, { streams: ['stdout'], follow: false })) {
        if (record.kind === 'data') bytes += record.bytes.byteLength;
      }
      if (bytes !== logBytes) throw new Error(`${bytes} of ${logBytes} bytes came`);
      sample.push(bytes / 1e6 / ((performance.now() - began) / 1000));
    }
    return { ...summarise(sample, 'MB/s'), goal: '>= 400' };
  } finally {
    await cli.close();
  }
}
