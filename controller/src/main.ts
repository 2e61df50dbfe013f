import { parseArgs } from 'node:util';
import {
  type ControllerPaths,
  closeInheritedDescriptors,
  controllerPaths,
  createLogger,
  RotatingFile,
  setUpEngine,
} from '@codex-remote/platform';
import { type DirectChange, directChange } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { type ControllerWishes, runController } from './daemon.ts';

/**
 * The controller process. Started by the CLI when none runs, in its own session. Exits 0 at once where another holds
 * the lock: of any number started together one serves. With `--replaces BUILD` it is to follow a controller of that build,
 * which it asks to stop. `--serve CHANGE` is `controller serve`: in the foreground, with what it is told of listening.
 */
function fail(error: unknown, paths: ControllerPaths, serves: boolean): never {
  const failure = RemoteError.from(error);
  if (serves) failToServe(failure);
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

/** As the CLI says what failed: it was one until now. */
function failToServe(failure: RemoteError): never {
  const running = failure.code === 'already_running';
  const told = running
    ? failure.with({ hint: 'codex-remote controller stop ends it; controller serve --replace follows it' })
    : failure;
  const { facts, ...error } = told.toWire();
  const said = { ok: false, error: { ...error, ...facts }, next_action: 'fix-config' };
  process.stdout.write(`${JSON.stringify(said)}\n`);
  process.stderr.write(`codex-remote: ${told.message}${told.details.hint ? `; ${told.details.hint}` : ''}\n`);
  process.exit(1);
}

process.umask(0o077);
setUpEngine();
closeInheritedDescriptors();
const paths = controllerPaths(process.env);
const { values } = parseArgs({
  options: {
    replaces: { type: 'string' },
    serve: { type: 'string' },
    'replace-any': { type: 'boolean' },
  },
});
const serves: DirectChange | undefined =
  values.serve === undefined ? undefined : directChange.parse(JSON.parse(values.serve));
const wishes: ControllerWishes = {
  ...(values.replaces !== undefined && { replaces: { build: values.replaces } }),
  ...(values['replace-any'] && { replaces: {} }),
  ...(serves && { serves }),
};
runController(paths, wishes).catch((error: unknown) => fail(error, paths, serves !== undefined));
