import { oneLine } from '@codex-remote/client';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { one } from '../../table/flag.ts';
import * as read from '../../table/values.ts';

export const tokenRevoke = command({
  name: 'token revoke',
  summary: 'End a token and every connection that it has open, at once. Jobs that it started go on.',
  flags: { id: one(read.tokenId, 'ID', 'the id that token list shows') },
  positional: 'id',
  examples: [['end it', 'token revoke 01k9qzv8j0abcdefghjk']],
  async run({ id }, { client }) {
    if (id === undefined) throw usage({ name: 'token revoke' }, 'token revoke needs the id of a token');
    const view = await client.revokeToken(id);
    return { value: { ok: true, ...view }, exit: 0, human: () => oneLine(`${view.id}: revoked`) };
  },
});
