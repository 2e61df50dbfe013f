import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { Cli, TcpProxy } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** A caller that reaches its controller through a proxy in the place of the controller's socket. */
describe('the stream to a caller ends before its last record', () => {
  let cli: Cli;
  let caller: Cli;
  let proxy: TcpProxy;

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
    const { socket } = await cli.json(['controller', 'status']);
    caller = await Cli.open();
    const place = join(caller.home, relative(cli.home, String(socket)));
    await mkdir(dirname(place), { recursive: true, mode: 0o700 });
    proxy = await TcpProxy.open(String(socket), place);
  });
  afterAll(async () => {
    await proxy?.close();
    await caller?.close();
    await cli?.close();
  });

  const last = (bytes: Buffer): number | undefined => {
    const at = bytes.indexOf('{"finished":');
    return at < 0 ? undefined : at;
  };
  const run = (id: string) => {
    const cmd = `echo started >> ${join(cli.home, id)}; echo output; exit 3`;
    return caller.run(['exec', 'run', '-m', 'local', '--id', id, '--cmd', cmd]);
  };
  const linesOf = ({ stdout }: { stdout: Buffer }) =>
    stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);

  test.each(['fin', 'rst'] as const)(
    'once, by %s: it reads on and has output and code once [row 56]',
    async (how) => {
      const cut = proxy.cutWhere('down', how, last);
      const ran = await run(`once-${how}`);
      await cut;
      expect(ran.status).toBe(3);
      expect(linesOf(ran)).toMatchObject([{ type: 'started' }, { line: 'output' }, { type: 'finished' }]);
      expect(await readFile(join(cli.home, `once-${how}`), 'utf8')).toBe('started\n');
    },
  );

  test('each time: 255 and an error as the last line, never 0 and never a code that was not seen [row 56]', {
    timeout: 120_000,
  }, async () => {
    let over = false;
    const running = run('always').finally(() => {
      over = true;
    });
    while (!over) await Promise.race([proxy.cutWhere('down', 'fin', last), running]);
    const ran = await running;
    expect(ran.status).toBe(255);
    expect(linesOf(ran).at(-1)).toMatchObject({
      type: 'error',
      error: { code: 'connection_reset', exec_id: 'always', sent: 'yes' },
      next_command: expect.stringContaining('always'),
    });
    expect(await cli.json(['exec', 'wait', '--id', 'always'], 3)).toMatchObject({ exit_code: 3 });
    expect(await readFile(join(cli.home, 'always'), 'utf8')).toBe('started\n');
  });

  test('logs that are cut each time are an error too, not a reader that asks for ever [row 56]', {
    timeout: 120_000,
  }, async () => {
    await cli.lines(['exec', 'run', '-m', 'local', '--id', 'logs', '--cmd', 'echo output']);
    let over = false;
    const reading = caller.run([
      'exec',
      'logs',
      '--id',
      'logs',
      '--follow',
      '--from',
      '0',
      '--stream',
      'stdout',
    ]);
    void reading.finally(() => {
      over = true;
    });
    const end = (bytes: Buffer): number | undefined => {
      const at = bytes.indexOf('{"end":');
      return at < 0 ? undefined : at;
    };
    while (!over) await Promise.race([proxy.cutWhere('down', 'fin', end), reading]);
    const read = await reading;
    expect(read.status).toBe(1);
    expect(linesOf(read)).toMatchObject([{ line: 'output' }, { type: 'error', ok: false }]);
  });
});
