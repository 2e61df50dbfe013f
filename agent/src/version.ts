/** Set by the bundler from the package; a run from source has no other. */
declare const __CODEX_REMOTE_VERSION__: string | undefined;

export const agentVersion: string =
  typeof __CODEX_REMOTE_VERSION__ === 'string' ? __CODEX_REMOTE_VERSION__ : '0.0.0-source';
