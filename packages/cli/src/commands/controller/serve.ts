import { RemoteError } from '@codex-remote/protocol/wire';
import { command } from '../../table/command.ts';
import { flagSwitch } from '../../table/flag.ts';
import { directChange, directFlags } from './direct-flags.ts';

export const controllerServe = command({
  name: 'controller serve',
  ownHost: true,
  summary: 'Be the controller, in the foreground, for service managers and containers.',
  description: `Prints one line of JSON once it serves. SIGTERM and SIGINT end it; agents and execs go on.`,
  flags: {
    ...directFlags,
    replace: flagSwitch('stop the one that runs, and follow it'),
  },
  examples: [
    ['in a container', 'controller serve --listen 0.0.0.0:7443 --public-url https://controller.example:7443'],
    ['as a service', 'controller serve --replace'],
  ],
  async run(values, { controllerProgram, env }) {
    const change = directChange('controller serve', values) ?? {};
    const [node, ...words] = controllerProgram;
    const argv = [node, ...words, '--serve', JSON.stringify(change)];
    if (values.replace) argv.push('--replace-any');
    const kept = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined);
    if (process.execve === undefined)
      throw new RemoteError('runtime_unsupported', 'this Node.js cannot become the controller', {
        hint: 'Node.js 24 or later can',
      });
    // The same process from here on: signals and exit status are the controller's, whoever started it.
    process.execve(node, argv, Object.fromEntries(kept));
    throw new RemoteError('internal', 'execve returned');
  },
});
