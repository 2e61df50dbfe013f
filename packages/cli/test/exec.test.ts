import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { StandInController } from '@codex-remote/client/testing';
import { encodeRecord } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { installedCli, type Ran, type RunOptions, runCli } from './support/cli.ts';

const cli = installedCli();
let controller: StandInController;
beforeEach(async () => {
  controller = await new StandInController().listen();
});
afterEach(() => controller[Symbol.asyncDispose]());

function run(args: readonly string[], options: Partial<RunOptions> = {}): Promise<Ran> {
  return runCli(cli, args, { home: controller.home, ...options });
}
const box = ['-m', 'box'];
const text = (ran: Ran, stream = 'stdout') =>
  ran.json.filter((line) => line.type === 'log' && line.stream === stream).map(({ line }) => line);

test('run: started, records, finished; the exit status is the command’s own', async () => {
  const ran = await run(['exec', 'run', ...box, '--cmd', 'echo out; echo err >&2; exit 7']);
  expect([ran.status, ran.stderr]).toEqual([7, '']);
  expect(ran.json[0]).toMatchObject({
    type: 'started',
    ok: true,
    machine: 'box',
    ssh_ok: null,
    daemon_ok: true,
    mode: 'run',
    status: 'running',
    exit_code: null,
    next_action: 'wait',
  });
  expect(ran.json[0]?.exec_id).toMatch(/^[a-z0-9]{20}$/);
  expect([text(ran), text(ran, 'stderr')]).toEqual([['out'], ['err']]);
  expect(ran.json.find(({ stream }) => stream === 'stdout')).toEqual({
    type: 'log',
    stream: 'stdout',
    line: 'out',
    ts: '2026-01-02T03:04:05.678Z',
    offset: 0,
    next_offset: 4,
  });
  expect(ran.json.at(-1)).toMatchObject({
    type: 'finished',
    ok: true,
    exec_id: ran.json[0]?.exec_id,
    status: 'finished',
    exit_code: 7,
    reason: 'exited',
    next_action: 'done',
    stdout_bytes: 4,
    stderr_bytes: 4,
  });
  expect(ran.json.at(-1)).not.toHaveProperty('stdout_tail');
});

test('an argument vector arrives exactly: no shell, nothing re-joined or re-ordered', async () => {
  const argv = ['b', 'a', 'b', '', ' ', '--json', '-m', '$HOME', "it's", '"', '\\', '*', '\t'];
  const ran = await run(['exec', 'run', '--raw', ...box, '--', 'printf', '%s\\0', ...argv]);
  expect(ran.stdout.split('\0').slice(0, -1)).toEqual(argv);
});

test('start answers with the id, result follows the job to its end', async () => {
  const started = await run([
    'exec',
    'start',
    ...box,
    '--id',
    'job1',
    '--label',
    'l',
    '--cmd',
    'echo begun; sleep 0.2; echo done; exit 3',
  ]);
  expect(Object.keys(started.json[0] ?? {}).slice(0, 7)).toEqual([
    'ok',
    'exec_id',
    'machine',
    'mode',
    'status',
    'next_action',
    'next_command',
  ]);
  expect(started.json[0]).toMatchObject({
    exec_id: 'job1',
    machine: 'box',
    mode: 'async',
    status: 'running',
    next_command: 'codex-remote exec wait --id job1 --max-wait 50s',
  });
  const waited = await run(['exec', 'wait', 'job1']);
  expect([waited.status, waited.json[0]?.exit_code, waited.json[0]?.complete]).toEqual([3, 3, true]);
  const result = await run(['exec', 'result', 'job']);
  expect(result.status).toBe(0);
  expect(result.json[0]).toMatchObject({
    ok: true,
    exec_id: 'job1',
    status: 'finished',
    exit_code: 3,
    label: 'l',
    stdout_tail: 'begun\ndone\n',
    stdout_tail_from: 0,
    stderr_tail: '',
    stderr_tail_from: 0,
    complete: true,
    next_action: 'done',
  });
  expect(result.json[0]).toHaveProperty('duration_ms');
  expect((await run(['exec', 'result', 'job1', '--tail-lines', '1'])).json[0]).toMatchObject({
    stdout_tail: 'done\n',
    stdout_tail_from: 6,
    complete: false,
  });
  expect((await run(['exec', 'result', 'job1', '--tail', '0'])).json[0]).not.toHaveProperty('stdout_tail');
});

test('a running exec shows its last line, no tails', async () => {
  await run(['exec', 'start', ...box, '--id', 'slow', '--cmd', 'printf "10%%\\r50%%\\r"; sleep 60']);
  await expect.poll(() => controller.jobs.get('slow')?.output.stdout.byteLength).toBeGreaterThan(0);
  const [answer] = (await run(['exec', 'result', 'slow'])).json;
  expect(answer).toMatchObject({ status: 'running', exit_code: null, last_line: '50%' });
  expect(answer).not.toHaveProperty('stdout_tail');
});

test('the same id attaches, with another command it is a conflict', async () => {
  await run(['exec', 'start', ...box, '--id', 'twice', '--cmd', 'true']);
  expect((await run(['exec', 'start', ...box, '--id', 'twice', '--cmd', 'true'])).json[0]).toMatchObject({
    attached: true,
  });
  const other = await run(['exec', 'start', ...box, '--id', 'twice', '--cmd', 'false']);
  expect(other.status).toBe(1);
  expect(other.json[0]).toMatchObject({
    ok: false,
    error: { code: 'conflict', exec_id: 'twice', sent: 'yes', retryable: false },
  });
});

test('environment, files and directory travel; K alone takes its value from here; --env wins', async () => {
  const file = join(controller.home, 'env');
  writeFileSync(file, '# comment\nA=file\nB=b c\n\nHERE\nNOT_SET_HERE\n');
  const ran = await run(
    [
      'exec',
      'run',
      '--raw',
      ...box,
      '--cwd',
      '/',
      '--env-file',
      file,
      '--env',
      'A=flag',
      '--env',
      'EMPTY=',
      '--cmd',
      'echo "$A|$B|$HERE|${NOT_SET_HERE-unset}|${EMPTY-unset}|$PWD"',
    ],
    { env: { HERE: 'h=1' } },
  );
  expect(ran.stdout).toBe('flag|b c|h=1|unset||/\n');
});

test('a script and a stdin of megabytes arrive whole', async () => {
  const script = join(controller.home, 'script');
  writeFileSync(script, `wc -c; # ${'x'.repeat(1_200_000)}\ncat <<'EOF'\nhere "doc"\nEOF\n`);
  const ran = await run(['exec', 'run', '--raw', ...box, '--script', script, '--stdin', '-'], {
    input: Buffer.alloc(3_000_000, 7),
  });
  expect(ran.stdout).toBe('3000000\nhere "doc"\n');
  const fromStdin = await run(['exec', 'run', '--raw', ...box, '--script', '-'], {
    input: 'echo from stdin\n',
  });
  expect(fromStdin.stdout).toBe('from stdin\n');
});

test('raw gives the remote’s bytes alone, each stream to its own', async () => {
  const ran = await run([
    'exec',
    'run',
    '--raw',
    ...box,
    '--cmd',
    'printf "a\\377\\nb"; printf e >&2; exit 4',
  ]);
  expect([ran.status, ran.stderr]).toEqual([4, 'e']);
  expect(ran.stdout).toBe(Buffer.from('a\xff\nb', 'latin1').toString());
});

test('brief is one line of at most 6 kB with tails', async () => {
  const ran = await run([
    'exec',
    'run',
    '--brief',
    ...box,
    '--cmd',
    'for i in $(seq 300); do echo "\\"$i\\" \\\\\\\\\\\\\\\\\\\\"; echo "\\"$i\\"" >&2; done',
  ]);
  expect(ran.json).toHaveLength(1);
  expect(Buffer.byteLength(ran.stdout)).toBeLessThanOrEqual(6000);
  expect(ran.json[0]).toMatchObject({ type: 'finished', exit_code: 0, complete: false });
  expect(String(ran.json[0]?.stderr_tail).endsWith('"300"\n')).toBe(true);
});

test('max-wait returns the id and the place, and the job goes on', async () => {
  const ran = await run([
    'exec',
    'run',
    ...box,
    '--id',
    'long',
    '--max-wait',
    '300ms',
    '--cmd',
    'echo first; printf part; sleep 0.6; echo second',
  ]);
  expect(ran.status).toBe(75);
  const last = ran.json.at(-1) ?? {};
  expect(last).toMatchObject({
    type: 'detached',
    exec_id: 'long',
    status: 'running',
    exit_code: null,
    next_action: 'wait',
    stdout_offset: 10,
    stderr_offset: 0,
  });
  expect(ran.json.at(-2)).toMatchObject({ line: 'part', partial: true, next_offset: 10 });
  const rest = await run(String(last.next_command).split(' ').slice(1));
  expect(text(rest)).toEqual(['second']);
  expect(rest.status).toBe(0);
  const waited = await run(['exec', 'wait', 'long', '--max-wait', '0']);
  expect(waited.json[0]?.status).toBe('finished');
});

test.each(['SIGTERM', 'SIGHUP', 'SIGINT'] as const)(
  '%s detaches: last line with id and command, 75, the job goes on',
  async (signal) => {
    const ran = await run(['exec', 'run', ...box, '--id', 'kept', '--cmd', 'echo a; sleep 60'], {
      onChild: (child) =>
        child.stdout?.on(
          'data',
          (chunk: Buffer) => String(chunk).includes('"line":"a"') && child.kill(signal),
        ),
    });
    expect(ran.status).toBe(75);
    expect(ran.json.at(-1)).toMatchObject({
      type: 'detached',
      exec_id: 'kept',
      next_action: 'wait',
      stdout_offset: 2,
    });
    expect(controller.jobs.get('kept')?.over).toBe(false);
  },
);

test('a wait is one request, however long it takes: nothing polls', async () => {
  await run(['exec', 'start', ...box, '--id', 'slow', '--cmd', 'sleep 1; exit 5']);
  const asked = controller.requests.length;
  expect((await run(['exec', 'wait', 'slow'])).status).toBe(5);
  const waits = controller.requests.slice(asked).filter((request) => request.endsWith('execs-wait'));
  expect(waits).toHaveLength(1);
});

test('wait detaches as well, and a job that ran out of time says so', async () => {
  await run(['exec', 'start', ...box, '--id', 'w', '--cmd', 'sleep 60']);
  expect((await run(['exec', 'wait', 'w', '--max-wait', '50ms'])).status).toBe(75);
  await run(['exec', 'start', ...box, '--id', 'short', '--cmd', 'exit 3']);
  const both = await run(['exec', 'wait', 'w', 'short', '--max-wait', '50ms']);
  expect([both.status, both.json[0]]).toMatchObject([
    75,
    { next_action: 'wait', next_command: 'codex-remote exec wait --id w --id short --max-wait 50s' },
  ]);
  const ran = await run(['exec', 'wait', 'w'], {
    onChild: (child) =>
      void expect
        .poll(() => controller.requests.at(-1))
        .toBe('GET /v1/execs-wait')
        .then(() => child.kill('SIGTERM')),
  });
  expect([ran.status, ran.json[0]?.next_command]).toEqual([75, 'codex-remote exec wait --id w']);
});

test('cancel: the exec is gone when it answers; a second one says so; several need --yes', async () => {
  for (const id of ['c1', 'c2']) await run(['exec', 'start', ...box, '--id', id, '--cmd', 'sleep 60']);
  const refused = await run(['exec', 'cancel', 'c1', 'c2']);
  expect([refused.status, refused.stderr]).toEqual([2, expect.stringContaining('--yes')]);
  expect((await run(['exec', 'cancel', 'c1'])).json[0]).toMatchObject({
    ok: true,
    exec_id: 'c1',
    reason: 'cancelled',
    already_finished: false,
    leftover_pids: [],
  });
  expect((await run(['exec', 'cancel', 'c1', 'c2', '--yes'])).json[0]).toMatchObject({
    execs: [{ already_finished: true }, { already_finished: false }],
  });
  expect((await run(['exec', 'wait', 'c1'])).status).toBe(143);
});

test('wait and watch for several: all is 1 where one failed, any is the first', async () => {
  const go = join(controller.home, 'go');
  await run(['exec', 'start', ...box, '--id', 'ok', '--cmd', `until [ -e ${go} ]; do sleep 0.02; done`]);
  await run(['exec', 'start', ...box, '--id', 'bad', '--cmd', 'exit 9']);
  const any = await run(['exec', 'wait', 'ok', 'bad', '--any']);
  expect([any.status, any.json[0]?.execs]).toMatchObject([9, [{ exec_id: 'ok' }, { exec_id: 'bad' }]]);
  // The other one goes on: the next line waits for that.
  expect(any.json[0]).toMatchObject({
    next_action: 'wait',
    next_command: 'codex-remote exec wait --id ok --max-wait 50s',
  });
  writeFileSync(go, '');
  expect((await run(['exec', 'wait', 'ok', 'bad'])).status).toBe(1);
  const watched = await run(['exec', 'watch', 'ok', 'bad']);
  expect(watched.status).toBe(1);
  expect(
    watched.json
      .filter(({ type }) => type === 'finished')
      .map(({ exec_id }) => exec_id)
      .sort(),
  ).toEqual(['bad', 'ok']);
});

test('list: rows of at most 250 bytes with the fields that there are', async () => {
  await run(['exec', 'start', ...box, '--label', 'é'.repeat(150), '--cmd', `echo ${'long '.repeat(60)}`], {
    env: { CODEX_THREAD_ID: 'thread-1' },
  });
  const listed = await run(['exec', 'list']);
  const value = listed.json[0] as {
    ok: boolean;
    execs: Record<string, unknown>[];
    total: number;
    more: boolean;
  };
  expect([value.ok, value.total, value.more]).toEqual([true, 1, false]);
  for (const row of value.execs) expect(Buffer.byteLength(JSON.stringify(row))).toBeLessThanOrEqual(250);
  expect(value.execs[0]).toMatchObject({ machine: 'box', session: 'thread-1' });
  expect((await run(['exec', 'list', '--session', 'current'])).status).toBe(2);
});

test('logs: tail, grep before tail, one stream, cursor, limits', async () => {
  await run([
    'exec',
    'run',
    ...box,
    '--id',
    'l',
    '--cmd',
    'for i in $(seq 250); do echo line $i; done; echo oops >&2',
  ]);
  const plain = await run(['exec', 'logs', 'l']);
  expect([
    text(plain).length,
    text(plain).at(-1),
    text(plain, 'stderr'),
    plain.json.some(({ type }) => type === 'end'),
  ]).toEqual([100, 'line 250', ['oops'], false]);
  expect(text(await run(['exec', 'logs', 'l', '--stream', 'stdout', '--tail', '2']))).toEqual([
    'line 249',
    'line 250',
  ]);
  expect(text(await run(['exec', 'logs', 'l', '--grep', '^line 1\\d$', '--tail', '3']))).toEqual([
    'line 17',
    'line 18',
    'line 19',
  ]);
  expect(text(await run(['exec', 'logs', 'l', '--stream', 'stdout', '--from', '7']))[0]).toBe('line 2');
  const cut = await run(['exec', 'logs', 'l', '--stream', 'stdout', '--from', '0', '--max-bytes', '14']);
  expect([text(cut), cut.json.at(-1)?.complete]).toEqual([['line 1', 'line 2'], false]);
  const rest = await run([
    'exec',
    'logs',
    'l',
    '--stream',
    'stdout',
    '--cursor',
    String(cut.json.at(-1)?.next_cursor),
  ]);
  expect([text(rest)[0], text(rest).length, rest.json.at(-1)]).toMatchObject([
    'line 3',
    248,
    { type: 'end', complete: true },
  ]);
  expect((await run(['exec', 'logs', 'l', '--from', '3'])).status).toBe(2);
  expect((await run(['exec', 'logs', 'l', '--cursor', 'v1.0.0.other'])).status).toBe(2);
});

test('logs --follow gives what is there and what comes, then where it ended', async () => {
  const go = join(controller.home, 'go');
  await run([
    'exec',
    'start',
    ...box,
    '--id',
    'f',
    '--cmd',
    `echo old1; echo old2; until [ -e ${go} ]; do sleep 0.02; done; echo new; echo e >&2`,
  ]);
  await expect.poll(() => controller.jobs.get('f')?.output.stdout.byteLength).toBe(10);
  const followed = await run(['exec', 'logs', 'f', '--follow', '--tail', '1'], {
    onChild: (child) => child.stdout?.once('data', () => writeFileSync(go, '')),
  });
  expect([text(followed), text(followed, 'stderr'), followed.json.at(-1)]).toMatchObject([
    ['old2', 'new'],
    ['e'],
    { type: 'end', complete: true, next_cursor: 'v1.14.2.f' },
  ]);
});

test('a controller that is killed and comes back is not noticed by run', async () => {
  let killed = false;
  const ran = await run(
    ['exec', 'run', '--raw', ...box, '--cmd', 'for i in $(seq 30); do echo $i; sleep 0.02; done'],
    {
      onChild: (child) =>
        child.stdout?.on('data', () => {
          if (killed) return;
          killed = true;
          void controller
            .away()
            .then(() => new Promise((resolve) => setTimeout(resolve, 150)))
            .then(() => controller.listen());
        }),
    },
  );
  expect([ran.status, ran.stdout]).toEqual([0, Array.from({ length: 30 }, (_, i) => `${i + 1}\n`).join('')]);
});

test('the default machine is CODEX_REMOTE_MACHINE, a flag wins', async () => {
  expect((await run(['exec', 'run', '--cmd', 'true'], { env: { CODEX_REMOTE_MACHINE: 'box' } })).status).toBe(
    0,
  );
  expect(
    (await run(['exec', 'run', ...box, '--cmd', 'true'], { env: { CODEX_REMOTE_MACHINE: 'nowhere' } }))
      .status,
  ).toBe(0);
  expect((await run(['exec', 'run', '--cmd', 'true'])).status).toBe(2);
});

test('watch --any: the last line is that of the first that ended, and records have the whole id', async () => {
  await run(['exec', 'start', ...box, '--id', 'long', '--cmd', 'while :; do echo more; sleep 0.01; done']);
  await run(['exec', 'start', ...box, '--id', 'brief', '--cmd', 'sleep 0.3; exit 5']);
  const ran = await run(['exec', 'watch', 'lon', 'bri', '--any']);
  expect(ran.status).toBe(5);
  expect(ran.json.at(-1)).toMatchObject({ type: 'finished', exec_id: 'brief' });
  expect(new Set(ran.json.map(({ exec_id }) => exec_id))).toEqual(new Set(['long', 'brief']));
});

test('cancel: one that cannot be cancelled leaves none of the others unsaid', async () => {
  await run(['exec', 'start', ...box, '--id', 'here', '--cmd', 'sleep 60']);
  const ran = await run(['exec', 'cancel', 'nowhere', 'here', '--yes']);
  expect(ran.status).toBe(1);
  expect(ran.json).toHaveLength(1);
  expect(ran.json[0]).toMatchObject({
    ok: false,
    error: { code: 'exec_not_found' },
    execs: [{ exec_id: 'here', status: 'finished', already_finished: false }],
  });
  expect(ran.stderr.split('\n')).toHaveLength(2);
});

test('logs of a machine that is away say so, also where they are complete', async () => {
  await run(['exec', 'run', ...box, '--id', 'past', '--cmd', 'echo x']);
  const past = controller.jobs.get('past');
  if (past === undefined) throw new Error('the job is not there');
  const as_of = '2026-01-02T03:04:05.678Z';
  const view = { ...controller.view(past), machine_connected: false, as_of };
  controller.answers.push({
    path: /logs$/,
    answer: (_asked, response) => {
      response.writeHead(200, { connection: 'close' });
      response.end(encodeRecord({ kind: 'event', value: { end: { complete: true, view } } }));
    },
  });
  const ran = await run(['exec', 'logs', 'past']);
  expect(ran.json).toEqual([expect.objectContaining({ type: 'end', machine_connected: false, as_of })]);
});
