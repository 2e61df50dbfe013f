import type { DirectChange } from '@codex-remote/protocol/schema';
import { parseListen, parsePublicUrl } from '@codex-remote/protocol/wire';
import { usage } from '../../table/bind.ts';
import { flagSwitch, one, type ValuesOf } from '../../table/flag.ts';
import * as read from '../../table/values.ts';

export const directFlags = {
  listen: one(read.nonEmpty, 'HOST:PORT', 'listen there for machines and other hosts, over TLS; kept'),
  'public-url': one(read.nonEmpty, 'URL', 'how they reach that port: https://HOST:PORT; kept'),
  'no-listen': flagSwitch('listen nowhere; what is connected there ends'),
} as const;

/** What the flags ask to change; undefined: nothing. Throws `usage`. */
export function directChange(name: string, values: ValuesOf<typeof directFlags>): DirectChange | undefined {
  const { listen, 'public-url': url, 'no-listen': off } = values;
  if (off && (listen !== undefined || url !== undefined))
    throw usage({ name }, '--no-listen excludes --listen and --public-url');
  if (off) return { listen: null, public_url: null };
  if (listen === undefined && url === undefined) return undefined;
  if (listen !== undefined) parseListen(listen);
  return {
    ...(listen !== undefined && { listen }),
    ...(url !== undefined && { public_url: parsePublicUrl(url) }),
  };
}
