import { parseArgs } from 'node:util';
import {
  type ControllerPaths,
  closeInheritedDescriptors,
  controllerPaths,
  createLogger,
  RotatingFile,
} from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import { runController } from './daemon.ts';

/**
 * The controller process. Started by the CLI when none runs, in its own session. Exits 0 at once where another holds
 * the lock: of any number started together one serves. With `--replaces BUILD` it is to follow a controller of that build,
 * which it asks to stop.
 */
function fail(error: unknown, paths: ControllerPaths): never {
  const failure = RemoteError.from(error);
  if (failure.code === 'already_running') process.exit(0);
  const said = {
    error: failure.toWire(),
    stack: failure.stack,
    cause: failure.cause && String(failure.cause),
  };
  try {
    // The caller looks for these last words by our pid.
    createLogger(new RotatingFile(paths.log)).fatal(said, 'the controller could not start');
  } catch {
    process.stderr.write(`codex-remote controller: ${failure.code}: ${failure.message}\n`);
  }
  // What listens already must not keep it alive.
  process.exit(1);
}

process.umask(0o077);
closeInheritedDescriptors();
const paths = controllerPaths(process.env);
const { values } = parseArgs({ options: { replaces: { type: 'string' } } });
runController(paths, values.replaces).catch((error: unknown) => fail(error, paths));
