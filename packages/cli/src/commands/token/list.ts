import { oneLine } from '@codex-remote/client';
import { command } from '../../table/command.ts';
import { table } from '../exec/render.ts';
import { endText } from './show-text.ts';

export const tokenList = command({
  name: 'token list',
  summary: 'List the tokens: what each may do, until when, and when it was last used. No secrets.',
  flags: {},
  examples: [['all', 'token list']],
  async run(_values, { client }) {
    const tokens = await client.tokens();
    const rows = tokens.map((view) =>
      [
        view.id,
        view.scopes.join(' '),
        view.machines?.join(' ') ?? '',
        endText(view),
        view.last_used_at === undefined ? 'never' : `${view.last_used_at} ${view.last_used_from ?? ''}`,
        view.label ?? '',
      ].map(oneLine),
    );
    return {
      value: { ok: true, tokens },
      exit: 0,
      human: () =>
        rows.length === 0
          ? 'no tokens; codex-remote token create makes one'
          : table(['ID', 'SCOPES', 'MACHINES', 'HOLDS', 'LAST USED', 'LABEL'], rows),
    };
  },
});
