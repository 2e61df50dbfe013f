import { defaultWireLimits, type WireLimits } from '../../src/wire/index.ts';

/** Limits at which a few kilobytes already meet every rule. */
export const smallLimits: WireLimits = {
  ...defaultWireLimits,
  maxFrameBytes: 512,
  maxChannels: 16,
  maxOpenBytes: 256,
  maxErrorBytes: 256,
  initialWindowBytes: 2048,
  maxWindowBytes: 16 * 1024,
  maxWindowGrowthBytes: 20 * 1024,
  maxBacklogMessages: 64,
  minUnackedBytes: 4096,
  maxUnackedBytes: 64 * 1024,
  ackEveryBytes: 512,
  maxSocketBufferBytes: 2048,
  maxControlBacklog: 32,
};
