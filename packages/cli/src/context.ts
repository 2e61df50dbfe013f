import { statSync } from 'node:fs';
import {
  ControllerClient,
  ownBuild,
  ownVersion,
  type RemoteController,
  remoteEndpoint,
  remoteOf,
  startController,
} from '@codex-remote/client';
import { controllerPaths, systemClock } from '@codex-remote/platform';
import type { Clock } from '@codex-remote/protocol/wire';
import type { Output } from './output.ts';
import type { CommandSpec } from './table/command.ts';

export type Env = Readonly<Record<string, string | undefined>>;

/** What a command works with. */
export interface Context {
  readonly env: Env;
  readonly cwd: string;
  readonly clock: Clock;
  readonly output: Output;
  readonly client: ControllerClient;
  /** The controller elsewhere that `client` speaks with; absent: this user's own. */
  readonly remote?: Pick<RemoteController, 'url'>;
  readonly paths: ReturnType<typeof controllerPaths>;
  /** Makes a controller run, or throws; `controller start` calls it, every other command only when it must. */
  readonly startController: () => Promise<void>;
  /** What the controller is run by: Node.js and its file. */
  readonly controllerProgram: readonly [string, ...string[]];
  /** The line as it was typed, without the program, for `next_command`. */
  readonly args: readonly string[];
}

/**
 * The context of this process. `dist` is the folder with the bundles. Throws `unauthorized` for a token that cannot be used,
 * unless nobody is asked.
 */
export function processContext(
  output: Output,
  args: readonly string[],
  dist: string,
  { asksNobody }: Pick<CommandSpec, 'asksNobody'> = {},
): Context {
  const { env } = process;
  const paths = controllerPaths(env);
  const controller = `${dist}/controller.mjs`;
  const program = [process.execPath, controller] as const;
  const start = (replaces?: string) => startController({ paths, program, env, replaces });
  const remote = asksNobody ? undefined : remoteOf(env);
  // npm keeps the times that files had in the package; the inode changed when it was written here.
  const own = { version: ownVersion, build: ownBuild, installedMs: () => statSync(controller).ctimeMs };
  // One that is elsewhere is neither started nor replaced by us.
  const client = new ControllerClient(
    remote ? { socket: remoteEndpoint(remote) } : { socket: paths.socket, own, start },
  );
  return {
    env,
    cwd: workingDirectory(env),
    clock: systemClock,
    output,
    client,
    ...(remote && { remote: { url: remote.url } }),
    paths,
    startController: start,
    controllerProgram: program,
    args,
  };
}

/** The caller's directory, also when it was removed under us. */
function workingDirectory(env: Env): string {
  try {
    return process.cwd();
  } catch {
    return env.PWD ?? '/';
  }
}
