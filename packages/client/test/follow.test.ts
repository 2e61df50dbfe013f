import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Clock, RemoteError, streamId } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ControllerClient, type FollowEvent, Follower, type StartRequest } from '../src/index.ts';
import { StandInController } from './support/index.ts';

let controller: StandInController;
let client: ControllerClient;
beforeEach(async () => {
  controller = await new StandInController().listen();
  client = new ControllerClient({ socket: controller.socket });
});
afterEach(() => controller[Symbol.asyncDispose]());

const clock: Clock = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
  setTimer(ms, run) {
    const handle = setTimeout(run, ms);
    return { cancel: () => clearTimeout(handle) };
  },
};

function start(cmd: string, id = 'job'): StartRequest {
  return {
    machine: 'box',
    connectWaitMs: 0,
    spec: { exec_id: id, command: { kind: 'cmd', cmd }, env: {}, stdin: false, merge: false, mode: 'run' },
  };
}

/** Everything a follower gives; `at` sees each event as it comes. */
async function all(events: AsyncIterable<FollowEvent>, at: (event: FollowEvent) => unknown = () => {}) {
  const text = { stdout: '', stderr: '' };
  const kinds: string[] = [];
  for await (const event of events) {
    if (event.kind !== 'output') kinds.push(event.kind);
    else if (event.record.kind === 'data')
      text[event.record.stream === streamId.stderr ? 'stderr' : 'stdout'] += Buffer.from(
        event.record.bytes,
      ).toString();
    await at(event);
  }
  return { ...text, kinds };
}

const failure = (promise: Promise<unknown>): Promise<RemoteError> =>
  promise.then(
    () => Promise.reject(new Error('it did not fail')),
    (error: unknown) => (error instanceof RemoteError ? error : Promise.reject(error)),
  );

test('run gives started, both streams whole, finished', async () => {
  const follower = new Follower(client, { clock });
  const got = await all(follower.run(start('echo out; echo err >&2; exit 3')));
  expect(got).toEqual({ stdout: 'out\n', stderr: 'err\n', kinds: ['started', 'finished'] });
  expect(follower.positions).toEqual({ stdout: 4, stderr: 4 });
});

test('cut in the middle again and again, every byte comes once', async () => {
  // Each block waits until the one before it has been received and its connection was cut.
  const gate = join(controller.home, 'go');
  const job = `for i in $(seq 6); do seq -f "block $i line %g" 60; until [ -e ${gate}-$i ]; do sleep 0.005; done; done`;
  let cuts = 0;
  const got = await all(new Follower(client, { clock }).run(start(job)), (event) => {
    if (event.kind !== 'output' || event.record.kind !== 'data' || cuts === 6) return;
    controller.cut();
    writeFileSync(`${gate}-${++cuts}`, '');
  });
  const block = (i: number) =>
    Array.from({ length: 60 }, (_, line) => `block ${i} line ${line + 1}\n`).join('');
  expect(got.stdout).toBe([1, 2, 3, 4, 5, 6].map(block).join(''));
  expect([got.kinds, cuts, controller.jobs.size]).toEqual([['started', 'finished'], 6, 1]);
});

test('a controller that goes away and comes back is not noticed [row 10]', async () => {
  let gone = false;
  const got = await all(
    new Follower(client, { clock }).run(start('echo a; sleep 0.3; echo b')),
    async (event) => {
      if (event.kind !== 'output' || gone) return;
      gone = true;
      await controller.away();
      setTimeout(() => void controller.listen(), 200);
    },
  );
  expect(got).toMatchObject({ stdout: 'a\nb\n', kinds: ['started', 'finished'] });
});

test('an answer that is lost is asked for again under the same id: one process [row 55]', async () => {
  controller.answers.push({
    method: 'POST',
    path: /execs$/,
    once: true,
    answer: ({ message }) => void message.socket.destroy(),
  });
  const got = await all(new Follower(client, { clock }).run(start('echo once')));
  expect(got).toMatchObject({ stdout: 'once\n', kinds: ['started', 'finished'] });
  expect(controller.requests.filter((line) => line === 'POST /v1/execs')).toHaveLength(2);
  expect(controller.jobs.size).toBe(1);
});

test('a start that cannot be read again is looked for by its id, never sent twice', async () => {
  controller.answers.push({
    method: 'POST',
    path: /execs$/,
    once: true,
    answer: ({ message }) => void message.socket.destroy(),
  });
  const stdin = {
    again: false,
    async *read() {
      yield Buffer.from('x');
    },
  };
  const request = start('cat');
  const error = await failure(
    all(new Follower(client, { clock }).run({ ...request, spec: { ...request.spec, stdin: true }, stdin })),
  );
  expect([error.code, error.details.exec_id]).toEqual(['exec_not_found', 'job']);
  expect(controller.requests.filter((line) => line === 'POST /v1/execs')).toHaveLength(1);
});

/** The first request is lost; the machine cannot be reached for any later one. */
function lostThenOffline(): void {
  const offline = new RemoteError('machine_offline', 'machine offline: box', { machine: 'box', sent: 'no' });
  const path = /execs$/;
  const gone = new RemoteError('connection_reset', 'connection reset by peer', { sent: 'unknown' });
  controller.answers.push({ method: 'POST', path, once: true, answer: () => Promise.reject(gone) });
  controller.answers.push({ method: 'POST', path, answer: () => Promise.reject(offline) });
}

test('a request that may have been sent is not said to be unsent by a later one that was not', async () => {
  lostThenOffline();
  const followed = await failure(all(new Follower(client, { clock }).run(start('true'))));
  expect([followed.code, followed.details.sent]).toEqual(['machine_offline', 'unknown']);
  controller.answers.length = 0;
  lostThenOffline();
  const started = await failure(client.startExec(start('true')));
  expect([started.code, started.details.sent]).toEqual(['machine_offline', 'unknown']);
});

test('after 30 s without a controller it is connection reset by peer, with the id and what was sent [row 10]', async () => {
  let now = 0;
  const quick: Clock = {
    ...clock,
    monotonic: () => now,
    setTimer: (ms, run) =>
      clock.setTimer(0, () => {
        now += ms;
        run();
      }),
  };
  const error = await failure(
    all(new Follower(client, { clock: quick }).run(start('echo a; sleep 60')), async (event) => {
      if (event.kind === 'output') await controller.away();
    }),
  );
  expect(error.code).toBe('connection_reset');
  expect(error.message).toContain('connection reset by peer');
  expect(error.details).toMatchObject({ exec_id: 'job', machine: 'box', sent: 'yes' });
  expect(now).toBeGreaterThanOrEqual(30_000);
});

test('a refusal is final: not sent, with the id', async () => {
  const request = { ...start('true'), machine: 'bix' };
  const error = await failure(all(new Follower(client, { clock }).run(request)));
  expect([error.code, error.details.exec_id, error.details.sent]).toEqual(['unknown_machine', 'job', 'no']);
});

test('a stream that ends without its last record is read on [row 56]', async () => {
  await client.startExec(start('echo a; sleep 0.1; echo b'));
  controller.answers.push({ path: /watch$/, once: true, answer: (_asked, response) => void response.end() });
  expect((await all(new Follower(client, { clock }).watch({ id: 'job' }))).stdout).toBe('a\nb\n');
});

test('watching from an offset gives what comes after it', async () => {
  await client.startExec(start('echo one; echo two'));
  await client.wait(['job'], 'all', 5000);
  expect(
    (await all(new Follower(client, { clock, from: { stdout: 4, stderr: 0 } }).watch({ id: 'jo' }))).stdout,
  ).toBe('two\n');
});

test('a hole without a gap record is not passed over', async () => {
  const { encodeRecord } = await import('@codex-remote/protocol/wire');
  await client.startExec(start('true'));
  controller.answers.push({
    path: /watch$/,
    answer: (_asked, response) =>
      void response.end(encodeRecord({ kind: 'data', stream: 1, offset: 7, bytes: Buffer.from('x') })),
  });
  expect((await failure(all(new Follower(client, { clock }).watch({ id: 'job' })))).code).toBe(
    'protocol_error',
  );
});

test('an abort ends a follower at once with its reason', async () => {
  const stop = new AbortController();
  const reason = new Error('enough');
  const following = all(
    new Follower(client, { clock, signal: stop.signal }).run(start('echo a; sleep 60')),
    (event) => event.kind === 'output' && stop.abort(reason),
  );
  await expect(following).rejects.toBe(reason);
});
