/** What of one exec is kept at most; what is left out is named. */
export interface ArtifactLimits {
  readonly maxFiles: number;
  readonly maxBytes: number;
  /** Disk that is left free. */
  readonly reserveBytes: number;
}

export const defaultArtifactLimits: ArtifactLimits = Object.freeze({
  maxFiles: 10_000,
  maxBytes: 4 * 1024 ** 3,
  reserveBytes: 256 * 1024 * 1024,
});
