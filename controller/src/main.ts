import { controllerPaths } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import { runController } from './daemon.ts';

/**
 * The controller process. Started by the CLI when none runs, in its own session. Exits 0 at once where another holds
 * the lock: of any number started together one serves.
 */
process.umask(0o077);
runController(controllerPaths(process.env)).catch((error: unknown) => {
  const failure = RemoteError.from(error);
  if (failure.code === 'already_running') return;
  process.stderr.write(`codex-remote controller: ${failure.code}: ${failure.message}\n`);
  process.exitCode = 1;
});
