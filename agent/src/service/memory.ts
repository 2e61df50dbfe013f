/** What keeps a fresh agent that idles at 73 MiB: it held 3 more without the first, and 5 more without the second. */

/** A word for Node. MiB, of V8's young generation. */
export const youngGeneration = '--max-semi-space-size=1';

/**
 * A variable for glibc, see mallopt(3). Bytes: larger blocks go back to the system when they are freed, and naming the number
 * keeps it where it is, where otherwise it grows to that of the largest block, and 4 MiB from the start of Node stay.
 */
export const largeBlocks = { name: 'MALLOC_MMAP_THRESHOLD_', value: '262144' } as const;
