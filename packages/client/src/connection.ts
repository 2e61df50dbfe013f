import { systemClock } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import { type Build, buildHeader, replaces } from './build.ts';
import type { Endpoint } from './endpoint.ts';
import { type HttpRequest, type HttpResponse, request } from './http.ts';
import { isObject, objectOf, stringOf } from './shape.ts';

export interface ConnectionOptions {
  /** Path of the private socket, or a controller elsewhere. */
  readonly socket: string | Endpoint;
  /** This program; `installedMs` is when it came onto this host, epoch ms. Absent = it never replaces a controller. */
  readonly own?: Build & { installedMs: () => number };
  /**
   * Makes a controller run, or throws; absent = one that does not run is an error. `replaces`: the build of the controller
   * that is to give way to it.
   */
  readonly start?: ((replaces?: string) => Promise<void>) | undefined;
}

/** A JSON answer is at most this long: 10,000 rows of a list, or 1,000 execs with their tails. */
const maxJsonBytes = 64 * 1024 * 1024;
/** How often a connection that was refused before anything was sent, or dropped as below, is made again. */
const maxTries = 3;
/**
 * A controller that was killed may still take a connection, and drop it at once. What only asks is asked again then; later it
 * is for the caller, who knows how long it may take in all.
 */
const dyingMs = 1_000;

/**
 * Requests to one controller: starts it when it does not run, maps its errors, and replaces a controller that is older
 * than this program once the answer is in hand.
 */
export class Connection {
  readonly #options: ConnectionOptions;
  /** A controller of another build has answered: perhaps it is to be replaced. */
  #otherBuild = false;
  #starting: Promise<void> | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /** The answer of a request, its status 2xx. Who does not read the body closes it. Throws every other answer as `RemoteError`. */
  async open(wanted: HttpRequest, { mayStart = true } = {}): Promise<HttpResponse> {
    const response = await this.#ask(wanted, mayStart);
    const build = response.headers.get(buildHeader);
    if (build !== undefined && this.#options.own !== undefined && build !== this.#options.own.build)
      this.#otherBuild = true;
    if (response.status >= 200 && response.status < 300) return response;
    throw await errorOf(response);
  }

  /** The JSON of an answer. */
  async json(wanted: HttpRequest, options?: { mayStart?: boolean }): Promise<unknown> {
    const response = await this.open(wanted, options);
    const text = await textOf(response, maxJsonBytes);
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new RemoteError('protocol_error', "the controller's answer is not JSON", {}, error);
    }
  }

  /**
   * Replaces the controller when an older one has answered. Jobs belong to their machines and followers resume by
   * position, so neither notices. The new one itself asks it to stop, once it is loaded: followers of the older release
   * start theirs again as soon as it is gone.
   */
  async replaceOlder(): Promise<void> {
    const { own, start } = this.#options;
    if (!this.#otherBuild || own === undefined || start === undefined) return;
    this.#otherBuild = false;
    const controller = objectOf(
      await this.json({ method: 'GET', path: '/v1/controller', answerMs: 5_000 }, { mayStart: false }),
      'controller',
    );
    const [version, build] = [stringOf(controller.version, 'version'), stringOf(controller.build, 'build')];
    const startedMs = Date.parse(stringOf(controller.started_at, 'started_at'));
    if (!replaces({ ...own, installedMs: own.installedMs() }, { version, build, startedMs })) return;
    await start(build);
  }

  /** Before a request whose answer depends on the controller's own release: an older one gives way first. */
  async useOwnRelease(): Promise<void> {
    if (this.#options.own === undefined) return;
    await this.json({ method: 'GET', path: '/v1/controller', answerMs: 5_000 });
    await this.replaceOlder();
  }

  async #ask(wanted: HttpRequest, mayStart: boolean): Promise<HttpResponse> {
    for (let tries = 1; ; tries++) {
      const began = systemClock.monotonic();
      try {
        return await request(this.#options.socket, wanted);
      } catch (error) {
        const failure = RemoteError.from(error);
        const dying = wanted.method === 'GET' && systemClock.monotonic() - began < dyingMs;
        const harmless =
          failure.code === 'controller_unreachable' && (failure.details.sent === 'no' || dying);
        if (
          !harmless ||
          !mayStart ||
          tries === maxTries ||
          this.#options.start === undefined ||
          wanted.signal?.aborted
        )
          throw error;
        await this.#start();
      }
    }
  }

  /** One start at a time, however many requests of this process wait for it. */
  async #start(): Promise<void> {
    this.#starting ??= this.#options.start?.().finally(() => {
      this.#starting = undefined;
    });
    await this.#starting;
  }
}

export const jsonHeaders = { 'content-type': 'application/json' } as const;

/** The error that an answer holds; one that is none of ours names the status. */
export async function errorOf(response: HttpResponse): Promise<RemoteError> {
  const text = await textOf(response, maxJsonBytes).catch(() => '');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (isObject(value) && isObject(value.error)) return RemoteError.fromWire(value.error);
  return new RemoteError(
    'protocol_error',
    `the controller answered with status ${response.status} and no error of ours`,
  );
}

async function textOf(response: HttpResponse, maxBytes: number): Promise<string> {
  const pieces: Uint8Array[] = [];
  let total = 0;
  for await (const piece of response.body) {
    total += piece.byteLength;
    if (total > maxBytes)
      throw new RemoteError('too_large', `the controller's answer is over ${maxBytes} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}
