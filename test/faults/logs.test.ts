import { execFileSync } from 'node:child_process';
import {
  linkSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Cli, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** What happens to logs behind the back of their writers, as their readers are told it. */
describe('a log', () => {
  let cli: Cli;
  let home: string;
  let secret: string;

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
    home = String((await cli.json(['machine', 'show', 'local'])).agent_home);
    secret = join(cli.home, 'secret');
    writeFileSync(secret, 'private key\n');
  });
  afterAll(() => cli?.close());

  const log = (id: string) => join(home, 'execs', id, 'stdout');
  const go = (id: string, word: string) => writeFileSync(join(cli.home, `${id}.${word}`), '');
  /** Says `one` at once, `two` and `three` when it is let go. */
  async function start(id: string): Promise<void> {
    const until = (word: string) => `while [ ! -e ${join(cli.home, `${id}.${word}`)} ]; do sleep 0.02; done`;
    const cmd = `echo one; ${until('a')}; echo two; ${until('b')}; echo three; echo ran >>${join(cli.home, id)}; exit 7`;
    await cli.json(['exec', 'start', '-m', 'local', '--id', id, '--cmd', cmd]);
    await waitFor('its first line', () => readFileSync(log(id), 'utf8') === 'one\n');
  }
  const lines = (text: string) =>
    text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  function follow(id: string, from: string) {
    const child = cli.spawn(['exec', 'logs', '--id', id, '--stream', 'stdout', '--from', from, '--follow']);
    let seen = '';
    child.stdout.on('data', (chunk) => {
      seen += chunk;
    });
    return { seen: () => seen, over: new Promise((resolve) => child.once('close', resolve)) };
  }
  /** The agent has the log open for a reader. */
  const followed = (id: string) =>
    waitFor('a reader', () => {
      const fds = `/proc/${agentPid()}/fd`;
      return readdirSync(fds).some((fd) => {
        try {
          return readlinkSync(join(fds, fd)) === log(id);
        } catch {
          return false;
        }
      });
    });
  const agentPid = () => Number(JSON.parse(readFileSync(join(home, 'agent.json'), 'utf8')).pid);

  test('that is removed under the job: who follows it goes on, who comes later is told log_gone, also by the next agent [row 40]', async () => {
    await start('gone');
    const follower = follow('gone', '0');
    await waitFor('the first line', () => follower.seen().includes('"one"'));
    await followed('gone');
    unlinkSync(log('gone'));
    go('gone', 'a');
    await waitFor('what was written after it', () => follower.seen().includes('"two"'));
    const gone = async () => {
      const failed = await cli.run(['exec', 'logs', '--id', 'gone', '--stream', 'stdout']);
      expect([failed.status, lines(failed.stdout.toString()).at(-1)]).toMatchObject([
        1,
        { error: { code: 'log_gone', exec_id: 'gone' } },
      ]);
    };
    await gone();
    go('gone', 'b');
    await follower.over;
    const texts = lines(follower.seen()).filter((line) => line.type === 'log');
    expect(texts.map((line) => [line.line, line.offset])).toEqual([
      ['one', 0],
      ['two', 4],
      ['three', 8],
    ]);
    expect(await cli.json(['exec', 'wait', '--id', 'gone'], 7)).toMatchObject({ exit_code: 7 });
    process.kill(agentPid(), 'SIGKILL');
    await cli.json(['machine', 'up', 'local']);
    await gone();
    expect(await cli.json(['exec', 'result', '--id', 'gone'])).toMatchObject({
      status: 'finished',
      exit_code: 7,
    });
  });

  test('that is cut under the job: a gap is told, and no offset begins again at 0 [row 41]', async () => {
    await start('cut');
    const follower = follow('cut', '4');
    await followed('cut');
    truncateSync(log('cut'), 0);
    await waitFor('the gap', () => follower.seen().includes('"gap"'));
    go('cut', 'a');
    go('cut', 'b');
    await follower.over;
    const records = lines(follower.seen());
    for (const record of records) if (record.type === 'log') expect(record.offset).toBeGreaterThanOrEqual(4);
    expect(records[0]).toMatchObject({ type: 'gap', stream: 'stdout', offset: 4 });
    expect(records.at(-1)).toMatchObject({ type: 'end', status: 'finished' });
    expect(await cli.json(['exec', 'wait', '--id', 'cut'], 7)).toMatchObject({ exit_code: 7 });
  });

  test.each([
    ['a symlink', (path: string) => symlinkSync(secret, path)],
    ['another file', (path: string) => linkSync(secret, path)],
    ['a FIFO', (path: string) => execFileSync('mkfifo', [path])],
  ])(
    'that is replaced by %s is log_type: nothing of it is read, and nobody hangs [row 42]',
    async (what, replace) => {
      const id = `by-${what.split(' ').at(-1)?.toLowerCase()}`;
      await start(id);
      renameSync(log(id), `${log(id)}.aside`);
      replace(log(id));
      const failed = await cli.run(['exec', 'logs', '--id', id, '--stream', 'stdout']);
      expect([failed.status, lines(failed.stdout.toString()).at(-1)]).toMatchObject([
        1,
        { error: { code: 'log_type', exec_id: id } },
      ]);
      go(id, 'a');
      go(id, 'b');
      const ended = await cli.run(['exec', 'wait', '--id', id]);
      expect([ended.status, ended.stdout.toString()]).toEqual([
        7,
        expect.not.stringContaining('private key'),
      ]);
      expect(readFileSync(`${log(id)}.aside`, 'utf8')).toBe('one\ntwo\nthree\n');
    },
  );
});
