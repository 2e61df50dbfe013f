import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { Cli, TcpProxy } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** A caller that reaches its controller through a proxy in the place of the controller's socket. */
class ProxiedCaller {
  readonly cli: Cli;
  readonly proxy: TcpProxy;

  private constructor(cli: Cli, proxy: TcpProxy) {
    this.cli = cli;
    this.proxy = proxy;
  }

  static async open(to: Cli): Promise<ProxiedCaller> {
    const { socket } = await to.json(['controller', 'status']);
    const cli = await Cli.open();
    const place = join(cli.home, relative(to.home, String(socket)));
    await mkdir(dirname(place), { recursive: true, mode: 0o700 });
    return new ProxiedCaller(cli, await TcpProxy.open(String(socket), place));
  }

  /** Each answer is cut where `where` says, until the command has ended. */
  async runCut(args: readonly string[], where: (bytes: Buffer) => number | undefined): Promise<Ran> {
    let over = false;
    const running = this.cli.run([...args]).finally(() => {
      over = true;
    });
    while (!over) await Promise.race([this.proxy.cutWhere('down', 'fin', where), running]);
    return running;
  }

  async close(): Promise<void> {
    await this.proxy.close();
    await this.cli.close();
  }
}

type Ran = Awaited<ReturnType<Cli['run']>>;

/** Behind the head of the answer, and before its event of that name. */
const beforeEvent = (event: string) => (bytes: Buffer) => found(bytes.indexOf(`{"${event}":`));
const behindHead = (bytes: Buffer) => found(bytes.indexOf('\r\n\r\n') + 4, 4);

function found(at: number, least = 0): number | undefined {
  return at < least ? undefined : at;
}

const linesOf = ({ stdout }: { stdout: Buffer }) =>
  stdout
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('the stream to a caller ends before its last record', () => {
  let cli: Cli;
  const callers: ProxiedCaller[] = [];

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
  });
  afterAll(async () => {
    await Promise.all(callers.map((caller) => caller.close()));
    await cli?.close();
  });

  const caller = async () => {
    const opened = await ProxiedCaller.open(cli);
    callers.push(opened);
    return opened;
  };
  const runOf = (id: string) => [
    ...['exec', 'run', '-m', 'local', '--id', id],
    ...['--cmd', `echo started >> ${join(cli.home, id)}; echo output; exit 3`],
  ];

  test.each(['fin', 'rst'] as const)(
    'once, by %s: it reads on and has output and code once [row 56]',
    async (how) => {
      const { cli: ours, proxy } = await caller();
      const cut = proxy.cutWhere('down', how, beforeEvent('finished'));
      const ran = await ours.run(runOf(`once-${how}`));
      await cut;
      expect(ran.status).toBe(3);
      expect(linesOf(ran)).toMatchObject([{ type: 'started' }, { line: 'output' }, { type: 'finished' }]);
      expect(await readFile(join(cli.home, `once-${how}`), 'utf8')).toBe('started\n');
    },
  );

  // Each of these is given up after half a minute: all at the same time.
  describe.concurrent('each time', () => {
    test('255 and an error as the last line, never 0 and never a code that was not seen [row 56]', {
      timeout: 120_000,
    }, async () => {
      const ran = await (await caller()).runCut(runOf('always'), beforeEvent('finished'));
      expect(ran.status).toBe(255);
      expect(linesOf(ran).at(-1)).toMatchObject({
        type: 'error',
        error: { code: 'connection_reset', exec_id: 'always', sent: 'yes' },
        next_command: expect.stringContaining('always'),
      });
      expect(await cli.json(['exec', 'wait', '--id', 'always'], 3)).toMatchObject({ exit_code: 3 });
      expect(await readFile(join(cli.home, 'always'), 'utf8')).toBe('started\n');
    });

    test('behind the head of the answer: as little a success [row 56]', { timeout: 120_000 }, async () => {
      const ran = await (await caller()).runCut(runOf('headless'), behindHead);
      expect(ran.status).toBe(255);
      expect(linesOf(ran).at(-1)).toMatchObject({ type: 'error', error: { exec_id: 'headless' } });
      expect(ran.stdout.toString()).not.toContain('"finished"');
    });

    test('in logs: an error too, not a reader that asks for ever [row 56]', {
      timeout: 120_000,
    }, async () => {
      await cli.lines(['exec', 'run', '-m', 'local', '--id', 'logs', '--cmd', 'echo output']);
      const logs = ['exec', 'logs', '--id', 'logs', '--follow', '--from', '0', '--stream', 'stdout'];
      const read = await (await caller()).runCut(logs, beforeEvent('end'));
      expect(read.status).toBe(1);
      expect(linesOf(read)).toMatchObject([{ line: 'output' }, { type: 'error', ok: false }]);
    });
  });
});
