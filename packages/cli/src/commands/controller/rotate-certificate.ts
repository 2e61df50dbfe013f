import { command } from '../../table/command.ts';
import { one } from '../../table/flag.ts';
import * as read from '../../table/values.ts';
import { directText, runningAnswer } from './status.ts';

const defaultOverlapMs = 7 * 24 * 60 * 60 * 1000;

export const controllerRotateCertificate = command({
  name: 'controller rotate-certificate',
  ownHost: true,
  summary: 'Replace the TLS key by which machines and other hosts know the controller.',
  description: `The next key is announced at once to every machine that is connected, and to others when they come; it serves
after the overlap. A machine that was away for all of it needs machine up, or a new invitation. Tokens that were
made before it name the key before alone.`,
  flags: {
    overlap: one(
      read.duration,
      'TIME',
      'until the next key serves (default 7d); 0: once the connected know it',
    ),
  },
  examples: [
    ['with a week for everybody', 'controller rotate-certificate'],
    ['now', 'controller rotate-certificate --overlap 0'],
  ],
  async run(values, { client }) {
    const status = await client.rotateCertificate(values.overlap ?? defaultOverlapMs);
    return {
      value: { ok: true, ...runningAnswer(status) },
      exit: 0,
      human: () => directText(status).join('\n'),
    };
  },
});
