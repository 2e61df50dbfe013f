import { RemoteError } from './errors.ts';

/** Where a controller listens. */
export interface ListenAddress {
  /** A name or an address, IPv6 without brackets. */
  readonly host: string;
  /** 0: the system chooses. */
  readonly port: number;
}

/** `HOST:PORT`, `[V6]:PORT`. Throws `usage`. */
export function parseListen(text: string): ListenAddress {
  const [, v6, plain, digits] = /^(?:\[([0-9a-f:.]+(?:%\w+)?)\]|([a-z0-9._-]+)):(\d{1,5})$/i.exec(text) ?? [];
  const host = v6 ?? plain;
  const port = Number(digits);
  if (host !== undefined && port <= 65_535) return { host, port };
  throw bad('an address to listen on', text, 'HOST:PORT, such as 0.0.0.0:7443 or [::]:7443');
}

export function formatListen({ host, port }: ListenAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * `https://HOST[:PORT]`, by which machines and other hosts reach a controller; its answer is in that form, lower case.
 * There is no path in it: the agents' is fixed, and what could serve another would have to end the TLS. Throws `usage`.
 */
export function parsePublicUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const whole =
    url?.protocol === 'https:' &&
    url.hostname !== '' &&
    url.username === '' &&
    url.password === '' &&
    url.pathname === '/' &&
    url.search === '' &&
    url.hash === '' &&
    url.port !== '0';
  if (url && whole) return `https://${url.host}`;
  throw bad('a public URL', text, 'https://HOST[:PORT], such as https://controller.example:7443');
}

function bad(what: string, text: string, wanted: string): RemoteError {
  const shown = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  return new RemoteError('usage', `${JSON.stringify(shown)} is not ${what}`, {
    hint: `it is ${wanted}`,
    sent: 'no',
  });
}
