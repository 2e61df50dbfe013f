import { type IssuedToken, type TokenView, tokenCreate } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import { machineOf, parseScope } from '../access/scopes.ts';
import { unknownMachine } from '../registry/nearest.ts';
import type { ApiCall, ApiContext } from './context.ts';

export function listTokens({ tokens }: ApiContext, _call: ApiCall): { tokens: TokenView[] } {
  return { tokens: tokens.list() };
}

/** With all that the other side needs to reach us and to know that it has: its first contact is pinned already. */
export async function createToken(context: ApiContext, call: ApiCall): Promise<IssuedToken> {
  const wanted = tokenCreate.parse(call.body);
  const machines = context.machines.names();
  const named = wanted.scopes.flatMap((scope) => machineOf(parseScope(scope)) ?? []);
  for (const name of [...(wanted.machines ?? []), ...named])
    if (!machines.includes(name)) throw unknownMachine(name, machines);
  const address = context.direct.address();
  if (!address)
    throw new RemoteError(
      'no_reachable_endpoint',
      'a token is of use over the network, and the controller listens on no port',
      {
        hint: 'codex-remote controller start --listen HOST:PORT --public-url https://HOST:PORT',
        sent: 'no',
      },
    );
  const made = await context.tokens.create(call.principal, call.source, wanted);
  return {
    ...made,
    url: address.url,
    spki_sha256: [...address.spki_sha256],
    certificates: [...address.certificates],
  };
}

export function revokeToken({ tokens }: ApiContext, call: ApiCall): Promise<TokenView> {
  const { id } = z.object({ id: z.string().max(64) }).parse(call.params);
  return tokens.revoke(call.principal, call.source, id);
}
