/** Set by the bundler. */
declare const __CODEX_REMOTE_VERSION__: string | undefined;
declare const __CODEX_REMOTE_BUILD__: string | undefined;

/** SemVer. Sources that run unbundled are older than every bundle. */
export const ownVersion: string =
  typeof __CODEX_REMOTE_VERSION__ === 'string' ? __CODEX_REMOTE_VERSION__ : '0.0.0-source';
/** A hash of what this program and its controller were built from. */
export const ownBuild: string =
  typeof __CODEX_REMOTE_BUILD__ === 'string' ? __CODEX_REMOTE_BUILD__ : 'source';

/** Of every answer: the build of the controller that gave it. */
export const buildHeader = 'x-codex-remote-build';

/** A program, as far as its age goes. */
export interface Build {
  readonly version: string;
  readonly build: string;
}

/**
 * Whether a controller is to give way to ours: a later version, or another build of the same version that was installed
 * after the controller had started. An older installation beside a newer one never takes over.
 */
export function replaces(
  own: Build & { installedMs: number },
  controller: Build & { startedMs: number },
): boolean {
  if (own.build === controller.build) return false;
  const order = compareVersions(own.version, controller.version);
  return order !== 0 ? order > 0 : own.installedMs > controller.startedMs;
}

/** Negative, zero or positive: the three numbers, then a pre-release before its release. */
function compareVersions(a: string, b: string): number {
  const [left, right] = [partsOf(a), partsOf(b)];
  for (let i = 0; i < left.length; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function partsOf(version: string): number[] {
  const [numbers = '', ...pre] = version.split('-');
  return [...numbers.split('.').slice(0, 3).map(Number), pre.length > 0 ? 0 : 1].map((part) =>
    Number.isFinite(part) ? part : 0,
  );
}
