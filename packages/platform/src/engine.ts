import { setFlagsFromString } from 'node:v8';

/**
 * Sets V8 up for a process that lives long or passes many bytes on; to be called before there is work.
 *
 * The buffers that pass lie outside the heap, and V8 does not see how cheap it is to let go of them. A gigabyte through
 * controller and agent took 6 s of processor more, and twice the time:
 *
 *   - Each time 64 MiB of them have come (`kExternalAllocationSoftLimit`) it marks the whole heap, bit by bit and on other
 *     threads meanwhile, which for a heap of 15 MiB costs more than passing the bytes on. At once it is a pause of some ms.
 *   - The young generation grows with the traffic, until it is collected so seldom that buffers wait for the former. At its
 *     first size it is collected every few MiB of buffers, in a millisecond.
 *
 * Nothing is compiled on other threads. Such a thread may wait for the main one to collect, and where that one has begun to
 * exit both wait for ever (nodejs/node issue 54918, seen with `sync push`): a controller would keep its lock, a command its
 * caller.
 */
export function setUpEngine(): void {
  for (const flag of [
    '--no-incremental-marking',
    '--semi-space-growth-factor=1',
    '--no-concurrent-sparkplug',
    '--no-concurrent-recompilation',
  ])
    setFlagsFromString(flag);
}
