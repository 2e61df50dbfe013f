/**
 * Throughput of two sessions over a pipe in memory, with 64 KiB DATA frames: what the protocol itself costs, without a
 * socket. Run: `node packages/protocol/bench/throughput.ts [GiB]`. One JSON line.
 */
import { type Clock, frameHeaderBytes, Session } from '../src/wire/index.ts';
import { pipe } from '../test/support/pipe.ts';

const clock: Clock = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
  setTimer(ms, run) {
    const handle = setTimeout(run, ms);
    return { cancel: () => clearTimeout(handle) };
  },
};
const frameBytes = 64 * 1024;
const total = Number(process.argv[2] ?? 4) * 1024 ** 3;

async function measure(how: 'write' | 'writeFrame'): Promise<number> {
  const { agentEnd, controllerEnd } = pipe();
  const agent = new Session({
    transport: agentEnd,
    side: 'agent',
    clock,
    accept: async (channel) => {
      const source = new Uint8Array(frameBytes - frameHeaderBytes);
      for (let sent = 0; sent < total; sent += source.byteLength) {
        // A log reader would read its file into this buffer, behind the header.
        if (how === 'writeFrame') await channel.writeFrame(Buffer.allocUnsafeSlow(frameBytes));
        else await channel.write(source);
      }
      channel.end();
    },
  });
  const controller = new Session({ transport: controllerEnd, side: 'controller', clock });
  const started = performance.now();
  let received = 0;
  const channel = controller.open('bench', {});
  channel.end();
  for await (const item of channel) if (item.kind === 'data') received += item.bytes.byteLength;
  const seconds = (performance.now() - started) / 1000;
  controller.end();
  await agent.closed;
  return Math.round(received / seconds / 1e6);
}

const write = await measure('write');
const writeFrame = await measure('writeFrame');
process.stdout.write(`${JSON.stringify({ write_mb_s: write, write_frame_mb_s: writeFrame })}\n`);
