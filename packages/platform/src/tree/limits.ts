/** Every limit of a tree that travels, in one place. */
export const treeLimits = {
  /** Names of one tree. Protects memory and time of who is sent one. */
  maxEntries: 5_000_000,
  /** Names of one folder: those are held at once. */
  maxSiblings: 500_000,
  /** Folders in folders. */
  maxDepth: 256,
  /** PATH_MAX without its NUL. */
  maxPathBytes: 4095,
  maxNameBytes: 255,
  maxTargetBytes: 4095,
  maxFileBytes: 2 ** 50,
  /** Patterns that a caller gives. */
  maxRules: 1000,
  maxPatternBytes: 4096,
  /** A `.gitignore` that is larger says nothing. */
  maxIgnoreFileBytes: 64 * 1024,
  /** Folders whose modes wait for what is written into them. */
  maxLateModes: 100_000,
  /** What git may list as ignored. */
  maxIgnoredListBytes: 64 * 1024 * 1024,
};
export type TreeLimits = Readonly<typeof treeLimits>;

/** Entries that are handed on at once. */
export const batchEntries = 512;
/** Longest time that a walk keeps the event loop to itself, as far as the file system lets it. */
export const sliceMs = 5;

/** Where content is cut into chunks: bytes, all but the last of a file. */
export const chunkLimits = { minBytes: 16 * 1024, averageBits: 16, maxBytes: 256 * 1024 } as const;
