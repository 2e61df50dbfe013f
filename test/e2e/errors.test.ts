import { mkdir } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { Cli } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** The words that agents look for: in the message, with a hint, as JSON on stdout and as one line on stderr. */
describe('errors say what failed, on what, and what to do next', () => {
  let cli: Cli;

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
  });
  afterAll(() => cli?.close());

  async function failure(
    args: readonly string[],
    status: number,
    home: Cli = cli,
  ): Promise<Record<string, unknown>> {
    const result = await home.run(args);
    expect({ status: result.status, stdout: result.stdout.toString() }).toMatchObject({ status });
    const last = JSON.parse(result.stdout.toString().trim().split('\n').at(-1) ?? '') as Record<
      string,
      unknown
    >;
    expect(last.ok === false || last.type === 'error').toBe(true);
    const error = last.error as Record<string, unknown>;
    expect(error).toMatchObject({
      code: expect.any(String),
      message: expect.any(String),
      hint: expect.any(String),
      retryable: expect.any(Boolean),
    });
    const lines = result.stderr.trim().split('\n');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(String(error.message).slice(0, 40));
    return error;
  }

  test('unknown machine, with the nearest name', async () => {
    const error = await failure(['exec', 'start', '-m', 'locla', '--', 'true'], 1);
    expect(error).toMatchObject({ code: 'unknown_machine', sent: 'no', exec_id: expect.any(String) });
    expect(error.message).toContain('unknown machine');
    expect(error.hint).toContain('local');
    expect(await failure(['exec', 'run', '-m', 'locla', '--', 'true'], 255)).toMatchObject({
      code: 'unknown_machine',
    });
    expect(await failure(['machine', 'up', 'no-such-host-anywhere'], 1)).toMatchObject({
      code: 'unknown_machine',
    });
  });

  test('exec_id not found', async () => {
    const error = await failure(['exec', 'result', '--id', 'never-was'], 1);
    expect(error.code).toBe('exec_not_found');
    expect(error.message).toContain('exec_id not found');
    expect(error.hint).toContain('exec list');
  });

  test('machine offline', async () => {
    await cli.json(['machine', 'add', 'local2', '--ssh', 'nobody@127.0.0.1:9']);
    const error = await failure(['exec', 'start', '-m', 'local2', '--connect-wait', '0s', '--', 'true'], 1);
    expect(error).toMatchObject({ code: 'machine_offline', machine: 'local2', sent: 'no' });
    expect(error.message).toContain('machine offline');
  });

  test('ambiguous_id, and a prefix that is unique', async () => {
    for (const id of ['pre-one', 'pre-two'])
      await cli.json(['exec', 'start', '-m', 'local', '--id', id, '--', 'true']);
    expect(await failure(['exec', 'result', '--id', 'pre'], 1)).toMatchObject({ code: 'ambiguous_id' });
    expect(await cli.json(['exec', 'wait', '--id', 'pre-o'])).toMatchObject({ exec_id: 'pre-one' });
  });

  describe('a controller that misbehaves', () => {
    const servers: Server[] = [];
    const homes: Cli[] = [];
    afterAll(async () => {
      for (const server of servers) server.close();
      for (const home of homes) await home.close();
    });

    /** A home in whose place of the controller's socket something else listens. */
    async function impostor(answer: (socket: Socket, request: string) => void): Promise<Cli> {
      const home = await Cli.open();
      homes.push(home);
      await mkdir(join(home.home, 'run'), { recursive: true, mode: 0o700 });
      const server = createServer((socket) => {
        socket.on('error', () => undefined);
        socket.once('data', (bytes) => answer(socket, bytes.toString()));
      });
      servers.push(server);
      await new Promise<void>((resolve) => server.listen(join(home.home, 'run/api.sock'), resolve));
      return home;
    }

    const respond = (status: number, error: object) => (socket: Socket) => {
      const body = JSON.stringify({ error });
      socket.end(
        `HTTP/1.1 ${status} x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
      );
    };

    test('connection reset by peer, as the controller reports it', async () => {
      const home = await impostor(
        respond(502, {
          code: 'connection_reset',
          message: 'connection reset by peer: box went away',
          hint: '`codex-remote machine check -m box`',
          retryable: true,
          sent: 'unknown',
          machine: 'box',
        }),
      );
      const error = await failure(['exec', 'start', '-m', 'box', '--', 'true'], 1, home);
      expect(error).toMatchObject({ code: 'connection_reset', sent: 'unknown', exec_id: expect.any(String) });
      expect(error.message).toContain('connection reset by peer');
    });

    test('unauthorized', async () => {
      const home = await impostor(
        respond(401, {
          code: 'unauthorized',
          message: 'unauthorized: the key is not enrolled',
          hint: 'run `codex-remote machine up`',
          retryable: false,
        }),
      );
      const error = await failure(['exec', 'result', '--id', 'x'], 1, home);
      expect(error.code).toBe('unauthorized');
      expect(error.message).toContain('unauthorized');
    });
  });
});
