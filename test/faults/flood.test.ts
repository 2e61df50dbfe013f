import { globSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Cli, sized, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const mb = 1024 * 1024;

/** More output than fits any memory of ours, on the machine `local`. */
describe('output without end', () => {
  let cli: Cli;
  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
  });
  afterAll(() => cli?.close());

  test('as fast as it goes, with a reader that has stopped: memory stays bounded on both sides, every byte is there [row 62]', {
    timeout: 900_000,
  }, async () => {
    const bytes = sized({ ci: 300, full: 2_000 }) * mb;
    const watched = await Promise.all([agentPid(cli.home), controllerPid()]);
    const before = watched.map(rssOf);
    const { exec_id } = await cli.json(['exec', 'start', '-m', 'local', '--cmd', `yes | head -c ${bytes}`]);
    const id = String(exec_id);
    const stopped = cli.spawn([
      'exec',
      'logs',
      '--id',
      id,
      '--follow',
      '--raw',
      '--from',
      '0',
      '--stream',
      'stdout',
    ]);
    let taken = 0;
    stopped.stdout.once('data', (first: Buffer) => {
      taken += first.byteLength;
      stopped.stdout.pause();
    });
    const highest = [...before];
    const sampling = setInterval(() => {
      for (const [index, pid] of watched.entries())
        highest[index] = Math.max(highest[index] ?? 0, rssOf(pid));
    }, 50);
    try {
      expect(await cli.json(['exec', 'wait', '--id', id], 0, { timeoutMs: 600_000 })).toMatchObject({
        stdout_bytes: bytes,
      });
      // All of the other readers get all of it while that one holds what it holds.
      const tail = await cli.lines(['exec', 'logs', '--id', id, '--tail', '1', '--stream', 'stdout']);
      expect(tail[0]).toMatchObject({ line: 'y', next_offset: bytes });
      stopped.stdout.on('data', (more: Buffer) => {
        taken += more.byteLength;
      });
      const closed = new Promise((resolve) => stopped.once('close', resolve));
      stopped.stdout.resume();
      expect(await closed).toBe(0);
      expect(taken).toBe(bytes);
    } finally {
      clearInterval(sampling);
      stopped.kill('SIGKILL');
    }
    for (const [index, rss] of highest.entries())
      expect(rss - (before[index] ?? 0), index === 0 ? 'agent' : 'controller').toBeLessThan(120 * mb);
  });

  test('one line that never ends: pieces of at most 4096 bytes, marked, together every byte [row 63]', {
    timeout: 900_000,
  }, async () => {
    const bytes = sized({ ci: 24, full: 2_000 }) * mb;
    const cmd = `head -c ${bytes} /dev/zero | tr '\\0' x`;
    const { exec_id } = await cli.json(['exec', 'start', '-m', 'local', '--cmd', cmd]);
    const child = cli.spawn([
      'exec',
      'logs',
      '--id',
      String(exec_id),
      '--follow',
      '--stream',
      'stdout',
      '--from',
      '0',
    ]);
    let [rest, next, pieces, highest] = ['', 0, 0, 0];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const piece = JSON.parse(line) as { type: string; line: string; offset: number; partial?: boolean };
        if (piece.type !== 'log') continue;
        pieces += 1;
        if (piece.offset !== next || piece.line.length > 4096 || /[^x]/.test(piece.line))
          throw new Error(`piece ${pieces} at ${piece.offset}, due at ${next}`);
        next += piece.line.length;
      }
      highest = Math.max(highest, rssOf(child.pid ?? 0));
    });
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(0);
    expect([next, pieces]).toEqual([bytes, bytes / 4096]);
    expect(highest).toBeLessThan(250 * mb);
  });

  test('a log beyond 4 GiB: offsets are exact, in JSON too, and reading begins there at once [row 65]', async () => {
    const go = join(cli.home, 'go');
    const cmd = `echo first; until [ -e ${go} ]; do sleep 0.05; done; echo behind; echo last`;
    const { exec_id } = await cli.json(['exec', 'start', '-m', 'local', '--cmd', cmd]);
    const id = String(exec_id);
    const log = await waitFor('the log', () => {
      const [file] = globSync(join(cli.home, '**/execs', id, 'stdout'));
      return file !== undefined && readFileSync(file).byteLength > 0 && file;
    });
    // A hole: what a job would take minutes to write.
    const far = 5 * 1024 ** 3;
    truncateSync(log, far);
    writeFileSync(go, '');
    const end = far + 'behind\nlast\n'.length;
    expect(await cli.json(['exec', 'wait', '--id', id])).toMatchObject({ exit_code: 0, stdout_bytes: end });
    const from = ['exec', 'logs', '--id', id, '--stream', 'stdout', '--from', String(far)];
    const shown = (await cli.lines(from)).filter(({ type }) => type === 'log');
    expect(shown).toMatchObject([
      { line: 'behind', offset: far, next_offset: far + 7 },
      { line: 'last', offset: far + 7, next_offset: end },
    ]);
    const [tail] = await cli.lines(['exec', 'logs', '--id', id, '--stream', 'stdout', '--tail', '1']);
    expect(tail).toMatchObject({ line: 'last', offset: far + 7, next_offset: end });
    expect((await cli.run([...from, '--raw'])).stdout.toString()).toBe('behind\nlast\n');
  });

  async function controllerPid(): Promise<number> {
    const pid = await cli.controllerPid();
    if (pid === undefined) throw new Error('no controller runs');
    return pid;
  }
});

/** Resident bytes of a process; 0 once it has ended. */
function rssOf(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** The daemon whose home is under `home`. */
async function agentPid(home: string): Promise<number> {
  for (const entry of await readdir('/proc')) {
    const line = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
    if (line.includes('agent.mjs\0daemon') && line.includes(home)) return Number(entry);
  }
  throw new Error(`no agent runs under ${home}`);
}
