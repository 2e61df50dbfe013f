import { defaultWireLimits, frameHeaderBytes } from '@codex-remote/protocol/wire';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FrameFiller } from '../../src/sync/frame-filler.ts';

const room = defaultWireLimits.maxFrameBytes - frameHeaderBytes;

/** Payloads of the frames that `pieces` become. */
async function framesOf(pieces: readonly Uint8Array[]): Promise<Uint8Array[]> {
  const frames: Uint8Array[] = [];
  const filler = new FrameFiller({
    writeFrame: async (frame) => void frames.push(frame.subarray(frameHeaderBytes)),
  });
  for (const piece of pieces) await filler.write(piece);
  await filler.flush();
  return frames;
}

test('whatever the pieces are, the bytes are the same, and every frame but the last is full', async () => {
  const lengths = fc.array(fc.oneof(fc.constantFrom(0, 1, 8, room, 65_536, 131_063), fc.nat(200_000)), {
    maxLength: 12,
  });
  await fc.assert(
    fc.asyncProperty(lengths, async (sizes) => {
      const pieces = sizes.map((size, i) => Buffer.alloc(size, `piece ${i} `));
      const frames = await framesOf(pieces);
      expect(Buffer.concat(frames).equals(Buffer.concat(pieces))).toBe(true);
      expect(frames.slice(0, -1).every((frame) => frame.byteLength === room)).toBe(true);
      expect(frames.at(-1)?.byteLength).not.toBe(0);
    }),
    { numRuns: 100 },
  );
});

test('what was flushed is not sent again, stays as it is, and is all that it holds', async () => {
  const sent: Uint8Array[] = [];
  const filler = new FrameFiller({ writeFrame: async (frame) => void sent.push(frame) });
  await filler.write(Buffer.from('one'));
  await filler.flush();
  await filler.flush();
  await filler.write(Buffer.from('two'));
  await filler.flush();
  expect(sent.map((frame) => Buffer.from(frame.subarray(frameHeaderBytes)).toString())).toEqual([
    'one',
    'two',
  ]);
  // What waits holds about what it has.
  for (let i = 0; i < 100; i++) {
    await filler.write(Buffer.from('x'));
    await filler.flush();
  }
  const held = [...new Set(sent.map(({ buffer }) => buffer))].reduce(
    (sum, { byteLength }) => sum + byteLength,
    0,
  );
  expect(held).toBeLessThan(4 * 65_536);
});

test('whoever writes hears what ended the channel', async () => {
  const filler = new FrameFiller({ writeFrame: () => Promise.reject(new Error('it is over')) });
  await expect(filler.write(Buffer.alloc(room))).rejects.toThrow('it is over');
});
