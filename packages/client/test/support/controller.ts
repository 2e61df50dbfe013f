import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecSpec, ExecView, LogSelection } from '@codex-remote/protocol/schema';
import {
  type ExecRecord,
  encodeRecord,
  RecordParser,
  RemoteError,
  streamId,
} from '@codex-remote/protocol/wire';
import { Job } from './job.ts';

type Handler = (request: Asked, response: ServerResponse) => Promise<unknown>;

interface Asked {
  readonly url: URL;
  readonly parts: readonly string[];
  readonly message: IncomingMessage;
}

/**
 * A controller with its API on a real Unix socket, whose one machine `box` runs real processes on this host. Answers can
 * be replaced (`answers`), connections cut (`cut`), and it can go away and come back on the same socket with its execs.
 */
export class StandInController {
  readonly home: string;
  readonly socket: string;
  readonly jobs = new Map<string, Job>();
  readonly requests: string[] = [];
  /** Answers in place of our own: the first whose path fits is taken, and stays. */
  readonly answers: {
    method?: string;
    path: RegExp;
    once?: boolean;
    answer: (request: Asked, response: ServerResponse) => unknown;
  }[] = [];
  build = 'stand-in';
  #server: Server | undefined;
  readonly #sockets = new Set<Socket>();

  constructor(home = mkdtempSync(join(tmpdir(), 'cr-standin-'))) {
    this.home = home;
    this.socket = join(home, 'run', 'api.sock');
  }

  async listen(): Promise<this> {
    const { mkdirSync } = await import('node:fs');
    mkdirSync(join(this.home, 'run'), { recursive: true, mode: 0o700 });
    rmSync(this.socket, { force: true });
    const server = createServer((message, response) => void this.#handle(message, response));
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(this.socket, resolve));
    this.#server = server;
    return this;
  }

  /** Destroys every open connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Goes away at once, as with kill -9; jobs go on. */
  async away(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = new Promise((resolve) => server.close(resolve));
    this.cut();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.away();
    for (const job of this.jobs.values()) job.kill('SIGKILL');
    rmSync(this.home, { recursive: true, force: true });
  }

  view(job: Job, tailBytes = 0): ExecView {
    const tail = (bytes: Buffer) => {
      const from = Math.max(0, bytes.byteLength - tailBytes);
      return { from, base64: bytes.subarray(from).toString('base64') };
    };
    const tails =
      tailBytes > 0 ? { stdout_tail: tail(job.output.stdout), stderr_tail: tail(job.output.stderr) } : {};
    return { machine: 'box', machine_connected: true, ssh_ok: null, state: job.state(), ...tails };
  }

  async #handle(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(message.url ?? '/', 'http://localhost');
    this.requests.push(`${message.method} ${url.pathname}`);
    response.setHeader('x-codex-remote-build', this.build);
    const asked = { url, parts: url.pathname.split('/').slice(2).map(decodeURIComponent), message };
    try {
      const replaced = this.answers.findIndex(
        ({ method, path }) => (method === undefined || method === message.method) && path.test(url.pathname),
      );
      const handler =
        replaced === -1 ? this.#route(message.method ?? 'GET', asked.parts) : this.answers[replaced]?.answer;
      if (replaced !== -1 && this.answers[replaced]?.once) this.answers.splice(replaced, 1);
      if (handler === undefined) throw new RemoteError('unknown_verb', `${message.method} ${url.pathname}`);
      const value = await handler(asked, response);
      if (value !== undefined) response.end(JSON.stringify(value));
    } catch (error) {
      const failure = RemoteError.from(error);
      if (response.headersSent)
        response.end(encodeRecord({ kind: 'event', value: { error: failure.toWire() } }));
      else response.writeHead(failure.kind.http).end(JSON.stringify({ error: failure.toWire() }));
    }
  }

  #route(method: string, [noun, id, verb]: readonly string[]): Handler | undefined {
    const name = `${method} ${noun}${id === undefined ? '' : '/:id'}${verb === undefined ? '' : `/${verb}`}`;
    const routes: Record<string, Handler> = {
      'GET controller': async () => ({
        running: true,
        pid: process.pid,
        version: '0.0.1',
        build: this.build,
        socket: this.socket,
        started_at: new Date(0).toISOString(),
        machines_connected: 1,
      }),
      'GET machines': async () => ({ machines: [machine] }),
      'GET machines/:id': async () => this.#known(id, machine),
      'POST machines/:id/check': async () =>
        this.#known(id, {
          machine: 'box',
          ssh_ok: true,
          daemon_ok: true,
          latency_ms: 5.5,
          connection: 'local',
          agent_version: '0.1.0',
          shell: '/bin/bash',
          registered: true,
          checked_at: new Date().toISOString(),
        }),
      'POST execs': (asked, response) => this.#start(asked, response),
      'GET execs': async () => ({
        execs: [...this.jobs.values()].reverse().map((job) => this.view(job)),
        total: this.jobs.size,
        more: false,
      }),
      'GET execs/:id': async ({ url }) =>
        this.view(this.#job(id), Number(url.searchParams.get('tail_bytes'))),
      'GET execs/:id/watch': async ({ url }, response) => {
        const job = this.#job(id);
        response.writeHead(200, { connection: 'close' });
        send(response, { kind: 'event', value: { started: { view: this.view(job), attached: true } } });
        await this.#follow(
          job,
          { stdout: Number(url.searchParams.get('stdout')), stderr: Number(url.searchParams.get('stderr')) },
          response,
        );
      },
      'GET execs/:id/logs': ({ url }, response) =>
        this.#logs(this.#job(id), JSON.parse(url.searchParams.get('select') ?? '{}'), response),
      'GET execs-wait': async ({ url }) => this.#wait(url),
      'POST execs/:id/cancel': async ({ message }) => {
        const job = this.#job(id);
        const { signal } = JSON.parse((await bodyOf(message)).toString());
        const already_finished = job.over;
        if (!already_finished) job.cancel(signal);
        while (!job.over) await job.change();
        return { view: this.view(job), already_finished, leftover_pids: [] };
      },
    };
    return routes[name];
  }

  #known<T>(name: string | undefined, value: T): T {
    if (name !== 'box')
      throw new RemoteError('unknown_machine', `unknown machine ${name}`, {
        hint: 'did you mean box?',
        machine: name ?? '',
        sent: 'no',
      });
    return value;
  }

  #job(id: string | undefined): Job {
    const found = [...this.jobs].filter(([known]) => known === id || known.startsWith(id ?? '?'));
    if (found.length > 1)
      throw new RemoteError('ambiguous_id', `${id} is the beginning of ${found.length} ids`);
    const [only] = found;
    if (only === undefined)
      throw new RemoteError('exec_not_found', `exec_id not found: ${id}`, { exec_id: id ?? '' });
    return only[1];
  }

  async #start({ url, message }: Asked, response: ServerResponse): Promise<unknown> {
    this.#known(url.searchParams.get('machine') ?? undefined, true);
    const streams = { spec: [] as Uint8Array[], script: [] as Uint8Array[], stdin: [] as Uint8Array[] };
    const parser = new RecordParser();
    for await (const chunk of message) {
      for (const record of parser.push(chunk)) {
        if (record.kind !== 'data') continue;
        streams[
          record.stream === streamId.spec ? 'spec' : record.stream === streamId.script ? 'script' : 'stdin'
        ].push(record.bytes.slice());
      }
    }
    const spec: ExecSpec = JSON.parse(Buffer.concat(streams.spec).toString());
    const before = this.jobs.get(spec.exec_id);
    if (before !== undefined && JSON.stringify(before.spec.command) !== JSON.stringify(spec.command)) {
      throw new RemoteError('conflict', `conflict: ${spec.exec_id} exists with another request`, {
        exec_id: spec.exec_id,
        machine: 'box',
        sent: 'yes',
      });
    }
    const job = before ?? new Job(spec, Buffer.concat(streams.script), Buffer.concat(streams.stdin));
    this.jobs.set(spec.exec_id, job);
    const started = { view: this.view(job), attached: before !== undefined };
    if (url.searchParams.get('follow') !== '1') return started;
    response.writeHead(200, { connection: 'close' });
    send(response, { kind: 'event', value: { started } });
    await this.#follow(job, { stdout: 0, stderr: 0 }, response);
    return undefined;
  }

  async #follow(job: Job, from: { stdout: number; stderr: number }, response: ServerResponse): Promise<void> {
    await this.#send(job, from, true, response);
    send(response, { kind: 'event', value: { finished: this.view(job, 8192) } });
    response.end();
  }

  async #logs(job: Job, select: LogSelection, response: ServerResponse): Promise<undefined> {
    response.writeHead(200, { connection: 'close' });
    const from = { stdout: 0, stderr: 0 };
    let left = select.max_bytes ?? Number.POSITIVE_INFINITY;
    for (const name of ['stdout', 'stderr'] as const) {
      const bytes = job.output[name];
      from[name] = !select.streams.includes(name)
        ? Number.POSITIVE_INFINITY
        : (select.from?.[name] ?? tailStart(bytes, select));
    }
    const complete = await this.#send(
      job,
      from,
      select.follow,
      response,
      () => left,
      (sent) => {
        left -= sent;
      },
    );
    send(response, { kind: 'event', value: { end: { complete, view: this.view(job) } } });
    response.end();
    return undefined;
  }

  async #send(
    job: Job,
    from: { stdout: number; stderr: number },
    follow: boolean,
    response: ServerResponse,
    left = () => Number.POSITIVE_INFINITY,
    sent = (_bytes: number) => {},
  ): Promise<boolean> {
    const at = { ...from };
    const gone = new Promise((resolve) => response.once('close', resolve));
    for (;;) {
      const over = job.over;
      for (const name of ['stdout', 'stderr'] as const) {
        while (at[name] < job.output[name].byteLength) {
          const bytes = job.output[name].subarray(at[name], at[name] + Math.min(32_000, left()));
          if (bytes.byteLength === 0) return false;
          send(response, { kind: 'data', stream: streamId[name], offset: at[name], bytes });
          at[name] += bytes.byteLength;
          sent(bytes.byteLength);
          send(response, {
            kind: 'time',
            stream: streamId[name],
            offset: at[name],
            epochMs: Date.parse('2026-01-02T03:04:05.678Z'),
          });
        }
      }
      if (over || !follow || response.destroyed) return true;
      await Promise.race([job.change(), gone]);
    }
  }

  async #wait(url: URL): Promise<unknown> {
    const jobs = url.searchParams.getAll('id').map((id) => this.#job(id));
    const until = Date.now() + Number(url.searchParams.get('max_wait_ms') ?? 3_600_000);
    const any = url.searchParams.get('mode') === 'any';
    const done = () => (any ? jobs.some(({ over }) => over) : jobs.every(({ over }) => over));
    while (!done() && Date.now() < until) {
      const timer = new AbortController();
      const late = new Promise<void>((resolve) => {
        const handle = setTimeout(resolve, until - Date.now());
        timer.signal.addEventListener('abort', () => clearTimeout(handle));
      });
      await Promise.race([...jobs.filter(({ over }) => !over).map((job) => job.change()), late]);
      timer.abort();
    }
    return { execs: jobs.map((job) => this.view(job, 8192)), done: done() };
  }
}

const machine = {
  machine: 'box',
  connected: true,
  connection: 'local',
  installed: true,
  running: 0,
  added_at: '2026-01-01T00:00:00.000Z',
};

function send(response: ServerResponse, record: ExecRecord): void {
  if (!response.destroyed) response.write(encodeRecord(record));
}

function tailStart(bytes: Buffer, { tail_lines, tail_bytes }: LogSelection): number {
  if (tail_bytes !== undefined) return Math.max(0, bytes.byteLength - tail_bytes);
  if (tail_lines === undefined) return 0;
  let at = bytes.byteLength;
  for (let lines = 0; lines < tail_lines && at > 0; lines++)
    at = at === 1 ? 0 : bytes.lastIndexOf(10, at - 2) + 1;
  return at;
}

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of message) pieces.push(piece);
  return Buffer.concat(pieces);
}
