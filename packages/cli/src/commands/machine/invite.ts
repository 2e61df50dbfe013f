import { basename, dirname, join, resolve } from 'node:path';
import { eventField, isObject, oneLine, wrong } from '@codex-remote/client';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Context } from '../../context.ts';
import type { Outcome } from '../../outcome.ts';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { flagSwitch, one } from '../../table/flag.ts';
import { machineFlag } from '../../table/shared.ts';
import * as read from '../../table/values.ts';
import { machineOf } from '../exec/address.ts';
import { textOf } from '../exec/render.ts';

export const machineInvite = command({
  name: 'machine invite',
  summary: 'Print a line to paste on a machine that nobody can dial: it joins.',
  description:
    'The machine needs curl or wget, and a way to this controller (controller start --public-url). The line works once, for ten minutes; it is a secret until then.',
  flags: {
    machine: machineFlag,
    revoke: flagSwitch('let nobody in any more by what was not used yet'),
    bundle: one(read.nonEmpty, 'FILE', 'write one file to carry there instead; `sh FILE` joins'),
  },
  positional: 'machine',
  examples: [
    ['a machine behind NAT', 'machine invite -m gpu'],
    ['one that downloads nothing', 'machine invite gpu --bundle gpu.sh'],
    ['the line went to the wrong place', 'machine invite gpu --revoke'],
  ],
  async run(values, context) {
    const machine = machineOf('machine invite', values.machine, context.env);
    if (values.revoke) {
      if (values.bundle !== undefined)
        throw usage({ name: 'machine invite' }, '--revoke and --bundle exclude each other');
      const revoked = await context.client.revokeInvitations(machine);
      return {
        value: { ok: true, machine, revoked },
        exit: 0,
        human: () => `${machine}: ${revoked} invitation${revoked === 1 ? '' : 's'} revoked`,
      };
    }
    if (values.bundle !== undefined)
      return writeBundle(machine, resolve(context.cwd, values.bundle), context);
    const { command, expires_at } = await context.client.inviteMachine(machine);
    const next = `codex-remote machine check -m ${machine}`;
    if (context.output.terminal && context.output.mode === 'human')
      context.output.note(
        oneLine(`Paste this line on ${machine}; it works once, until ${expires_at}. Then: ${next}`),
      );
    return {
      value: { ok: true, machine, command, expires_at, next_command: next },
      exit: 0,
      human: () => oneLine(command),
    };
  },
});

/** Appears whole or not at all, for nobody else to read. */
async function writeBundle(machine: string, path: string, { client }: Context): Promise<Outcome> {
  // Short commands do not wait for it to load.
  const { open, rename, rm } = await import('node:fs/promises');
  const part = join(dirname(path), `.${basename(path)}-${process.pid}`);
  const file = await open(part, 'wx', 0o600).catch((error: unknown) => {
    throw new RemoteError('usage', `${path} cannot be written: ${String(error)}`, { sent: 'no' });
  });
  try {
    let expires: string | undefined;
    for await (const record of client.inviteByBundle(machine)) {
      if (record.kind === 'data') await file.write(record.bytes);
      if (record.kind !== 'event') continue;
      const failure = eventField(record.value, 'error');
      if (failure !== undefined) throw RemoteError.fromWire(failure).with({ machine });
      const invited = eventField(record.value, 'invited');
      if (!isObject(invited) || typeof invited.expires_at !== 'string')
        throw wrong('invited', 'an invitation');
      expires = invited.expires_at;
    }
    if (expires === undefined)
      throw new RemoteError('stream_cut', 'the controller went away before the file was whole', { machine });
    await file.sync();
    await rename(part, path);
    const next = `codex-remote machine check -m ${machine}`;
    return {
      value: {
        ok: true,
        machine,
        bundle: path,
        command: `sh ${basename(path)}`,
        expires_at: expires,
        next_command: next,
      },
      exit: 0,
      human: () =>
        textOf(`${path}: on ${machine}, before ${expires}: sh ${basename(path)}`, `then here: ${next}`),
    };
  } finally {
    await file.close();
    await rm(part, { force: true });
  }
}
