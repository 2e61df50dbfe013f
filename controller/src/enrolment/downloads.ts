import { createReadStream } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { proven } from '../gateway/admission.ts';
import { downloadPath, type Invitations, scriptName } from './invitations.ts';
import type { JoinTokens } from './join-tokens.ts';
import { filesOf, type Payloads } from './payload.ts';

/** Downloads at once, of all invitations and of one. */
const maxDownloads = 16;
const maxDownloadsEach = 4;
/** All that one invitation may fetch: eight times everything. */
const defaultMaxBytesEach = 2 * 1024 * 1024 * 1024;
/** A peer that takes nothing for so long. */
const idleMs = 30_000;

interface Use {
  running: number;
  bytes: number;
}

/**
 * What the script of an invitation fetches, from `/v1/join/<token id>/<name>`: for everybody who knows the id, while the token
 * is within its time. Nothing of it is secret; that strangers get nothing is for the sake of our bandwidth.
 */
export class Downloads {
  readonly #invitations: Invitations;
  readonly #tokens: JoinTokens;
  readonly #payloads: Payloads;
  readonly #maxBytesEach: number;
  readonly #uses = new Map<string, Use>();
  #running = 0;

  constructor(
    invitations: Invitations,
    tokens: JoinTokens,
    payloads: Payloads,
    maxBytesEach = defaultMaxBytesEach,
  ) {
    this.#maxBytesEach = maxBytesEach;
    this.#invitations = invitations;
    this.#tokens = tokens;
    this.#payloads = payloads;
  }

  /** Answers on every path; the response is ended, or its connection destroyed. */
  async serve(tokenId: string, name: string, response: ServerResponse): Promise<void> {
    if (!this.#tokens.machineOf(tokenId)) return refuse(response, 404);
    const use = this.#use(tokenId);
    if (this.#running >= maxDownloads || use.running >= maxDownloadsEach) return refuse(response, 503);
    if (use.bytes >= this.#maxBytesEach) return refuse(response, 429);
    this.#running += 1;
    use.running += 1;
    // It takes longer than a stranger has, and knows the id: the limits here are those that count.
    if (response.socket) proven(response.socket);
    response.setTimeout(idleMs, () => response.destroy());
    try {
      await this.#send(tokenId, name, use, response);
    } catch {
      response.destroy();
    } finally {
      this.#running -= 1;
      use.running -= 1;
    }
  }

  /** What was begun counts, also where the peer goes in the middle. */
  async #send(tokenId: string, name: string, use: Use, response: ServerResponse): Promise<void> {
    if (name === scriptName) {
      const script = Buffer.from((await this.#invitations.script(tokenId)) ?? '');
      if (script.length === 0) return refuse(response, 404);
      use.bytes += script.length;
      response.writeHead(200, headers(script.length)).end(script);
      return;
    }
    const file = filesOf(await this.#payloads.get()).get(name);
    if (!file) return refuse(response, 404);
    use.bytes += file.bytes;
    response.writeHead(200, headers(file.bytes));
    // One that changed since would not end where the header says.
    const end = file.bytes - 1;
    await pipeline(createReadStream(file.path, { end, highWaterMark: 256 * 1024 }), response);
  }

  #use(tokenId: string): Use {
    for (const id of this.#uses.keys()) if (!this.#tokens.machineOf(id)) this.#uses.delete(id);
    const use = this.#uses.get(tokenId) ?? { running: 0, bytes: 0 };
    this.#uses.set(tokenId, use);
    return use;
  }
}

/** What a path asks for; undefined where it is no download. */
export function downloadOf(url: string): { tokenId: string; name: string } | undefined {
  if (!url.startsWith(downloadPath)) return undefined;
  const [tokenId = '', name = ''] = url.slice(downloadPath.length).split('/');
  return { tokenId, name };
}

function headers(bytes: number): Record<string, string | number> {
  return { 'content-type': 'application/octet-stream', 'content-length': bytes, 'cache-control': 'no-store' };
}

function refuse(response: ServerResponse, status: 404 | 429 | 503): void {
  response.writeHead(status, { connection: 'close', 'content-length': 0 }).end();
}
