import { BlockList, connect, isIP, type Socket } from 'node:net';
import { RemoteError } from '@codex-remote/protocol/wire';

/** Most bytes of an answer to CONNECT: a proxy is a stranger. */
const maxAnswerBytes = 16 * 1024;

type Env = Readonly<Record<string, string | undefined>>;

/**
 * The proxy that the environment names for `url`, as curl and most programs read it: `https_proxy` or `HTTPS_PROXY`, unless
 * `no_proxy` or `NO_PROXY` has the host. Undefined: none. Throws `proxy_failed` for one that we cannot use.
 */
export function proxyFor(url: URL, env: Env): string | undefined {
  const named = (env.https_proxy ?? env.HTTPS_PROXY)?.trim();
  if (!named || isExempt(url, env.no_proxy ?? env.NO_PROXY ?? '')) return undefined;
  return parseProxy(named).href;
}

/** `host[:port]` is taken for http. Throws `proxy_failed`. */
function parseProxy(text: string): URL {
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const proxy = URL.canParse(full) ? new URL(full) : undefined;
  if (proxy?.protocol === 'http:' && proxy.hostname !== '' && isEncoded(proxy)) return proxy;
  // Not the text itself: it may have a password in it.
  throw new RemoteError('proxy_failed', 'HTTPS_PROXY names no proxy that we can use', {
    hint: 'it is http://[user:password@]host:port; the tunnel through it is TLS all the same',
  });
}

function isEncoded({ username, password }: URL): boolean {
  try {
    decodeURIComponent(username + password);
    return true;
  } catch {
    return false;
  }
}

/** Hosts and their subdomains, addresses, networks, `*`; with a port or without. */
function isExempt(url: URL, list: string): boolean {
  const host = bareHost(url);
  const port = url.port || '443';
  return list
    .split(/[\s,]+/)
    .filter(Boolean)
    .some((entry) => {
      if (entry === '*') return true;
      if (entry.includes('/')) return isInNetwork(host, entry);
      const [, name = entry, onPort] = /^(.*?|\[.*\]):(\d+)$/.exec(isIP(entry) ? '' : entry) ?? [];
      if (onPort !== undefined && onPort !== port) return false;
      const wanted = name
        .replace(/^\[(.*)\]$/, '$1')
        .replace(/^\*?\./, '')
        .toLowerCase();
      return host === wanted || (!isIP(host) && host.endsWith(`.${wanted}`));
    });
}

function isInNetwork(host: string, entry: string): boolean {
  const family = isIP(host) === 6 ? 'ipv6' : 'ipv4';
  const [network = '', bits] = entry.split('/');
  if (!isIP(host) || isIP(network) !== isIP(host)) return false;
  try {
    const list = new BlockList();
    list.addSubnet(network, Number(bits), family);
    return list.check(host, family);
  } catch {
    return false;
  }
}

/**
 * A connection to `host:port` through an HTTP proxy (RFC 9110 section 9.3.6), with basic credentials where its URL has
 * some. Nothing that the proxy says is followed or repeated. The caller owns the socket. Throws `proxy_failed`.
 */
export function connectThrough(
  proxyUrl: string,
  target: { readonly host: string; readonly port: number },
  signal: AbortSignal,
): Promise<Socket> {
  const proxy = parseProxy(proxyUrl);
  const where = `the proxy ${proxy.host}`;
  return new Promise((resolve, reject) => {
    const socket = connect({ host: bareHost(proxy), port: Number(proxy.port || 80), noDelay: true });
    let answer = Buffer.alloc(0);
    const settle = (): void => {
      signal.removeEventListener('abort', abort);
      socket.off('data', onData);
      socket.off('close', onClose);
    };
    const fail = (what: string, hint = 'look at HTTPS_PROXY and NO_PROXY, and at the proxy'): void => {
      settle();
      socket.destroy();
      reject(new RemoteError('proxy_failed', `${where} ${what}`, { hint }));
    };
    const abort = (): void => fail('did not answer in time');
    const onClose = (): void => fail('closed the connection');
    const onData = (chunk: Buffer): void => {
      answer = Buffer.concat([answer, chunk]);
      const end = answer.indexOf('\r\n\r\n');
      if (end < 0 && answer.length <= maxAnswerBytes) return;
      const status = /^HTTP\/1\.[01] (\d{3})[ \r]/.exec(answer.toString('latin1', 0, 16))?.[1];
      if (end < 0 || end > maxAnswerBytes || status === undefined) return fail('gave no answer that is HTTP');
      if (status === '407')
        return fail('asks for credentials', 'HTTPS_PROXY=http://user:password@host:port, then run it again');
      if (!status.startsWith('2')) return fail(`refused the connection with status ${status}`);
      // The controller speaks second in TLS: what stands here is the proxy's own.
      if (answer.length > end + 4) return fail('sent more than its answer');
      settle();
      socket.pause();
      resolve(socket);
    };
    socket.on('error', (error) => fail(`could not be reached: ${error.message}`));
    socket.on('close', onClose);
    socket.on('data', onData);
    socket.on('connect', () => socket.write(connectRequest(proxy, target)));
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort);
  });
}

function connectRequest(proxy: URL, { host, port }: { host: string; port: number }): string {
  const authority = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
  const user = decodeURIComponent(proxy.username);
  const credentials = Buffer.from(`${user}:${decodeURIComponent(proxy.password)}`).toString('base64');
  const authorization = user === '' ? '' : `Proxy-Authorization: Basic ${credentials}\r\n`;
  return `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${authorization}\r\n`;
}

function bareHost(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1').toLowerCase();
}
