/** Set by the bundler from the package; a run from source has no other. */
declare const __CODEX_REMOTE_VERSION__: string | undefined;

export const controllerVersion: string =
  typeof __CODEX_REMOTE_VERSION__ === 'string' ? __CODEX_REMOTE_VERSION__ : '0.0.0-source';

declare const __CODEX_REMOTE_BUILD__: string | undefined;

/** Changes with every build: a CLI of another build restarts the controller. */
export const controllerBuild: string =
  typeof __CODEX_REMOTE_BUILD__ === 'string' ? __CODEX_REMOTE_BUILD__ : 'source';
