import { closeSync, fchmodSync, fsyncSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { oneLine } from '@codex-remote/client';
import type { IssuedToken } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Context } from '../../context.ts';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { many, one } from '../../table/flag.ts';
import * as read from '../../table/values.ts';
import { textOf } from '../exec/render.ts';
import { endText } from './show-text.ts';

export const tokenCreate = command({
  name: 'token create',
  summary: 'Make a token by which a CLI elsewhere uses this controller.',
  description: [
    'Its secret is shown this once: as one line of JSON that, in a file of mode 0600, is all that the other side needs; CODEX_REMOTE_TOKEN_FILE names it there.',
    'Scopes: machines:read, exec:read (states), logs:read (output too), exec:run[:MACHINE] (all three there too), files:read[:MACHINE], files:write[:MACHINE] (reading too), sync:write[:PROJECT], admin (everything but the host itself).',
  ].join('\n'),
  flags: {
    scope: many(read.nonEmpty, 'SCOPE', 'what it may do'),
    machine: many(read.machine, 'NAME', 'only on this machine', { char: 'm' }),
    ttl: one(read.durationOrNone, 'TIME', 'it ends after this (default 30d), or none'),
    label: one(read.text, 'TEXT', 'what it is for'),
    output: one(read.nonEmpty, 'FILE', 'write it to a new file, 0600, in place of showing it'),
  },
  examples: [
    ['run on one machine, from a laptop', 'token create --scope exec:run:local --output laptop.token'],
    ['only look, for a week', 'token create --scope machines:read --scope logs:read --ttl 7d'],
  ],
  async run(values, { client, cwd }) {
    const { scope, machine, ttl, label, output } = values;
    if (scope === undefined)
      throw usage({ name: 'token create' }, 'token create needs a scope: --scope SCOPE');
    const wanted = {
      scopes: [...scope],
      ...(machine && { machines: [...machine] }),
      ...(ttl !== undefined && { ttl_ms: ttl }),
      ...(label !== undefined && { label }),
    };
    if (output === undefined) {
      const made = await client.createToken(wanted);
      const text = () => textOf(JSON.stringify(fileOf(made)), shown(made), howTo('FILE'));
      return { value: { ok: true, ...made }, exit: 0, human: text };
    }
    const file = resolve(cwd, output);
    const made = await intoFile(file, client, () => client.createToken(wanted));
    const { token: _secret, ...rest } = made;
    return { value: { ok: true, ...rest, file }, exit: 0, human: () => textOf(shown(made), howTo(file)) };
  },
});

/**
 * The file is there before the token is made, so that no secret is made that has no place; it goes again where none is. A
 * token whose secret could not be kept is revoked.
 */
async function intoFile(
  file: string,
  client: Context['client'],
  make: () => Promise<IssuedToken>,
): Promise<IssuedToken> {
  let fd: number;
  try {
    fd = openSync(file, 'wx', 0o600);
  } catch (error) {
    const errno = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new RemoteError('usage', `--output ${file} cannot be made (${errno}); it must not exist yet`, {
      hint: 'codex-remote token create --help',
      sent: 'no',
    });
  }
  let made: IssuedToken | undefined;
  try {
    // Whatever the umask.
    fchmodSync(fd, 0o600);
    made = await make();
    writeFileSync(fd, `${JSON.stringify(fileOf(made))}\n`);
    fsyncSync(fd);
    return made;
  } catch (error) {
    rmSync(file, { force: true });
    if (made) await client.revokeToken(made.id).catch(() => undefined);
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** What the other side needs. */
function fileOf({ url, token, spki_sha256, certificates }: IssuedToken) {
  return { url, token, spki_sha256, certificates };
}

function shown(made: IssuedToken): string {
  const where = made.machines ? ` on ${made.machines.join(', ')}` : '';
  return `token ${made.id}: ${made.scopes.join(', ')}${where}; ${endText(made)}${made.label === undefined ? '' : `; ${oneLine(made.label)}`}`;
}

function howTo(file: string): string {
  return `on the other host: CODEX_REMOTE_TOKEN_FILE=${file} (mode 0600), then any command`;
}
