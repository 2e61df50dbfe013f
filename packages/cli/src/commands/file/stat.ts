import { command } from '../../table/command.ts';
import { flagSwitch } from '../../table/flag.ts';
import { textOf } from '../exec/render.ts';
import { addressOf, fileFlags, filesOf, pathText } from './address.ts';
import { linkText, modeText, shownInfo } from './render.ts';

export const fileStat = command({
  name: 'file stat',
  summary: 'Tell what a name on a machine is: type, size, mode, times, where a link leads.',
  description: 'A symbolic link itself is shown, not what it leads to.',
  flags: {
    ...fileFlags,
    sha256: flagSwitch('read its content for its SHA-256; of a link, what it leads to'),
  },
  positional: 'path',
  examples: [
    ['one file', 'file stat -m local /etc/hosts'],
    ['its digest, for file write --expect-sha256', 'file stat -m local --sha256 /etc/hosts'],
  ],
  async run(values, context) {
    const address = addressOf('file stat', values, context);
    const info = await filesOf(context).stat(address, values.sha256 === true);
    return {
      value: { ok: true, machine: address.machine, ...shownInfo(info) },
      exit: 0,
      human: () =>
        textOf(
          linkText(pathText(info), info),
          `  ${modeText(info)}  ${info.size} bytes  ${info.mtime}  uid ${info.uid}  gid ${info.gid}`,
          ...(info.sha256 === undefined ? [] : [`  sha256 ${info.sha256}`]),
        ),
    };
  },
});
