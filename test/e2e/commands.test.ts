import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Cli, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

/** Commands that break naive tools, on the machine `local`. */
describe('a command runs exactly as it was said', () => {
  let cli: Cli;

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
  });
  afterAll(() => cli?.close());

  const run = (...args: string[]) => cli.run(['exec', 'run', '-m', 'local', '--raw', ...args]);
  const finished = async (...args: string[]) =>
    await cli.run(['exec', 'run', '-m', 'local', '--brief', ...args]);

  test('a script of 1 MB from stdin', async () => {
    const filler = `# ${'x'.repeat(97)}\n`.repeat(10_500);
    const script = `${filler}echo "ran $((6 * 7))"\n`;
    const result = await cli.run(['exec', 'run', '-m', 'local', '--raw', '--script', '-'], { input: script });
    expect(result.stdout.toString()).toBe('ran 42\n');
    expect(result.status).toBe(0);
  });

  test('a script with its own interpreter line', async () => {
    const path = join(cli.home, 'job.sh');
    await writeFile(path, '#!/bin/sh -e\nfalse\necho never\n');
    const result = await run('--script', path);
    expect(result.stdout.toString()).toBe('');
    expect(result.status).toBe(1);
  });

  test('a heredoc and every kind of quote through --cmd', async () => {
    const cmd = `cat <<'EOF'\n"double" 'single' \`back\` $HOME \\ !bang\nEOF\nprintf '%s|' "a b" 'c"d' "e'f" $'g\\th'`;
    const result = await run('--cmd', cmd);
    expect(result.stdout.toString()).toBe(`"double" 'single' \`back\` $HOME \\ !bang\na b|c"d|e'f|g\th|`);
  });

  test('every printable byte, spaces, newlines and empty words through -- ARGV [row 92]', async () => {
    const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join('');
    const words = [printable, '', ' ', '--', '-x', '--machine', 'a\nb', 'ünï', '*', '$(id)', ...printable];
    const result = await run('--', 'printf', '%s\\0', ...words);
    expect(result.stdout.toString().split('\0').slice(0, -1)).toEqual(words);
  });

  test('output without a last newline, and both streams', async () => {
    const result = await run('--cmd', 'printf out; printf err >&2');
    expect(result.stdout.toString()).toBe('out');
    expect(result.stderr).toBe('err');
  });

  test('200 MB without a newline [row 63]', { timeout: 120_000 }, async () => {
    const cmd = 'head -c 200000000 /dev/zero | tr "\\0" x';
    const result = await run('--cmd', cmd);
    expect(result.stdout.length).toBe(200_000_000);
    expect(sha256(result.stdout)).toBe(sha256(Buffer.alloc(200_000_000, 'x')));
  });

  test('random bytes come back identical, raw and as JSON [row 64]', async () => {
    const cmd = 'head -c 300000 /dev/urandom | tee "$HOME/random"; sha256sum < "$HOME/random" >&2';
    const result = await cli.run([
      'exec',
      'run',
      '-m',
      'local',
      '--raw',
      '--env',
      `HOME=${cli.home}`,
      '--cmd',
      cmd,
    ]);
    expect(sha256(result.stdout)).toBe(result.stderr.slice(0, 64));
    const lines = await cli.lines([
      'exec',
      'run',
      '-m',
      'local',
      '--env',
      `HOME=${cli.home}`,
      '--cmd',
      'cat "$HOME/random"',
    ]);
    const pieces = lines
      .filter((line) => line.type === 'log')
      .map((line) => {
        const text =
          typeof line.line_b64 === 'string'
            ? Buffer.from(line.line_b64, 'base64')
            : Buffer.from(String(line.line));
        return line.partial ? text : Buffer.concat([text, Buffer.from('\n')]);
      });
    const whole = Buffer.concat(pieces).subarray(0, 300_000);
    expect(sha256(whole)).toBe(result.stderr.slice(0, 64));
  });

  test('100,000 fast lines, each once and in order', async () => {
    const lines = await cli.lines(['exec', 'run', '-m', 'local', '--', 'seq', '100000']);
    const numbers = lines.filter((line) => line.type === 'log').map((line) => line.line);
    expect(numbers).toHaveLength(100_000);
    expect(numbers.every((line, i) => line === String(i + 1))).toBe(true);
  });

  test('/dev/stderr and tee /dev/stderr lose nothing [row 41]', async () => {
    const result = await run(
      '--cmd',
      'echo one >&2; echo two >/dev/stderr; echo three | tee /dev/stderr; echo four >&2',
    );
    expect(result.stderr).toBe('one\ntwo\nthree\nfour\n');
    expect(result.stdout.toString()).toBe('three\n');
  });

  test.each([
    ['exit 0', 0],
    ['exit 1', 1],
    ['exit 2', 2],
    ['exit 126', 126],
    ['exit 127', 127],
    ['exit 255', 255],
    ['exit 300', 44],
  ])('%s is the exit status %i', async (cmd, status) => {
    const result = await finished('--cmd', cmd);
    expect(result.status).toBe(status);
    expect(JSON.parse(result.stdout.toString())).toMatchObject({
      type: 'finished',
      reason: 'exited',
      exit_code: status,
    });
  });

  test.each([
    ['kill -9 $$', 137, 'SIGKILL'],
    ['kill -TERM $$', 143, 'SIGTERM'],
    ['kill -SEGV $$', 139, 'SIGSEGV'],
  ])('%s is death by a signal', async (cmd, status, signal) => {
    const result = await finished('--cmd', cmd);
    expect(result.status).toBe(status);
    expect(JSON.parse(result.stdout.toString())).toMatchObject({
      reason: 'signaled',
      exit_code: status,
      signal,
    });
  });

  test('kill -9 0 ends the job and not its record', async () => {
    const result = await finished('--cmd', 'kill -9 0');
    expect(result.status).toBe(137);
  });

  test('a background child that keeps stdout open delays nothing, and its output is kept [row 19]', async () => {
    const result = await finished(
      '--cmd',
      '(while [ ! -e "$GO" ]; do sleep 0.02; done; echo late) & echo soon',
      '--env',
      `GO=${join(cli.home, 'go')}`,
    );
    const answer = JSON.parse(result.stdout.toString()) as Record<string, unknown>;
    expect(answer).toMatchObject({ exit_code: 0, writers_remaining: true });
    await writeFile(join(cli.home, 'go'), '');
    await waitFor('the late line', async () => {
      const logs = await cli.run(['exec', 'logs', '--id', String(answer.exec_id), '--raw']);
      return logs.stdout.toString() === 'soon\nlate\n';
    });
  });

  test('nohup x & survives and does not hold the answer', async () => {
    const mark = join(cli.home, 'nohup-done');
    const result = await finished(
      '--cmd',
      `nohup sh -c 'sleep 0.3; echo done > ${mark}' >/dev/null 2>&1 & echo started`,
    );
    expect(result.status).toBe(0);
    await waitFor(
      'the background job',
      async () => (await cli.run(['exec', 'run', '-m', 'local', '--raw', '--', 'cat', mark])).status === 0,
    );
  });

  test('a command that reads stdin sees its end, or what --stdin gives', async () => {
    expect((await run('--', 'cat')).stdout.toString()).toBe('');
    const given = await cli.run(['exec', 'run', '-m', 'local', '--raw', '--stdin', '-', '--', 'wc', '-c'], {
      input: Buffer.alloc(1_000_000),
    });
    expect(given.stdout.toString().trim()).toBe('1000000');
  });

  test.each([
    ['an unknown shell', ['--shell', 'no-such-shell', '--cmd', 'true'], 127],
    ['a missing directory', ['--cwd', '/no/such/dir', '--', 'true'], 126],
    ['a program that is not there', ['--', 'no-such-program-anywhere'], 127],
    ['a program that is not executable', ['--', '/etc/passwd'], 126],
  ])('%s fails to start, and says so', async (_what, args, code) => {
    const result = await finished(...args);
    expect(result.status).toBe(code);
    expect(JSON.parse(result.stdout.toString())).toMatchObject({
      reason: 'failed_to_start',
      exit_code: code,
      spawn_error: expect.any(String),
    });
  });

  test('--env wins over the defaults that jobs see', async () => {
    const result = await run(
      '--env',
      'TERM=xterm',
      '--cmd',
      'echo $TERM $NO_COLOR $PAGER ${CODEX_REMOTE_EXEC_ID:+id}',
    );
    expect(result.stdout.toString()).toBe('xterm 1 cat id\n');
  });

  test('--env sets what shells have of their own, too', async () => {
    const names = ['IFS=:', 'OPTIND=7', 'PPID=1', 'LINENO=9', 'UID=5', 'PS1=$ '];
    const result = await run(...names.flatMap((pair) => ['--env', pair]), '--', '/usr/bin/env');
    expect(result.stdout.toString().split('\n')).toEqual(expect.arrayContaining(names));
  });

  test('--merge keeps the order of both streams', async () => {
    const result = await run('--merge', '--cmd', 'for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; done');
    expect(result.stdout.toString()).toBe('o1\ne1\no2\ne2\no3\ne3\no4\ne4\no5\ne5\n');
    expect(result.stderr).toBe('');
  });

  test('--timeout ends the job with 124; --max-wait only the waiting, with 75', async () => {
    const timed = await finished('--timeout', '300ms', '--cmd', 'sleep 60');
    expect(timed.status).toBe(124);
    expect(JSON.parse(timed.stdout.toString())).toMatchObject({ reason: 'timeout' });
    const waited = await finished('--max-wait', '300ms', '--id', 'still-there', '--cmd', 'sleep 60');
    expect(waited.status).toBe(75);
    expect(await cli.json(['exec', 'result', '--id', 'still-there'])).toMatchObject({ status: 'running' });
    expect(await cli.json(['exec', 'cancel', '--id', 'still-there'])).toMatchObject({
      status: 'finished',
      reason: 'cancelled',
    });
    expect(await cli.json(['exec', 'cancel', '--id', 'still-there'])).toMatchObject({
      already_finished: true,
    });
  });
});
