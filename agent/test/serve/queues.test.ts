import { join } from 'node:path';
import { agentVerbs } from '@codex-remote/protocol/schema';
import { call, type ExecRecord, encodeRecord, RecordParser, streamId } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { FileWriter } from '../../src/files/write-file.ts';
import { createHandler } from '../../src/serve/serve-session.ts';
import { type SessionPair, sessionPair } from '../support/session-pair.ts';
import { StoreLab } from '../support/store-lab.ts';

let lab: StoreLab;
let pair: SessionPair;
beforeEach(async () => {
  lab = new StoreLab();
  pair = await sessionPair(
    createHandler({
      store: lab.store,
      writer: new FileWriter(join(lab.home, 'writes')),
      version: '1.2.3',
      stop: () => undefined,
      trust: () => 0,
    }),
  );
});
afterEach(async () => {
  await pair.close();
  lab.close();
});

const set = async (concurrency: Record<string, number>) =>
  agentVerbs['queues.set'].reply.parse(await call(pair.controller, 'queues.set', { concurrency })).queues;

async function start(id: string, cmd: string) {
  const spec = lab.spec({ exec_id: id, queue: 'q', command: { kind: 'cmd', cmd } });
  const bytes = Buffer.from(JSON.stringify(spec));
  async function* body() {
    yield encodeRecord({ kind: 'data', stream: streamId.spec, offset: 0, bytes });
  }
  const reply = await call(pair.controller, 'exec.start', { exec_id: id }, { body: body() });
  return agentVerbs['exec.start'].reply.parse(reply).state;
}

async function logs(id: string, follow: boolean): Promise<ExecRecord[]> {
  const channel = pair.controller.open('exec.logs', {
    exec_id: id,
    select: { streams: ['stdout', 'stderr'], follow },
  });
  channel.end();
  const parser = new RecordParser();
  const records: ExecRecord[] = [];
  for await (const item of channel)
    if (item.kind === 'data') records.push(...parser.push(item.bytes.slice()));
  return records;
}

const textOf = (records: readonly ExecRecord[]) =>
  records.map((record) => (record.kind === 'data' ? Buffer.from(record.bytes).toString() : '')).join('');

it('queues.set and queues.get tell what is set and what is in use', async () => {
  expect(await set({ q: 0, gpu: 3 })).toEqual([
    { queue: 'gpu', concurrency: 3, running: 0, queued: 0 },
    { queue: 'q', concurrency: 0, running: 0, queued: 0 },
  ]);
  await start('a', 'true');
  expect(await call(pair.controller, 'queues.get', {})).toEqual({
    queues: [
      { queue: 'gpu', concurrency: 3, running: 0, queued: 0 },
      { queue: 'q', concurrency: 0, running: 0, queued: 1 },
    ],
  });
  await expect(set({ q: -1 })).rejects.toMatchObject({ code: 'usage' });
  await expect(set({ 'Not A Name': 1 })).rejects.toMatchObject({ code: 'usage' });
  const many = (from: number) =>
    Object.fromEntries(Array.from({ length: 200 }, (_, n) => [`n${from + n}`, 1]));
  await set(many(0));
  await expect(set(many(200))).rejects.toMatchObject({ code: 'usage' });
});

it('a follower of a queued exec waits with it and gets all of its output; who does not follow gets nothing', async () => {
  await set({ q: 0 });
  expect(await start('a', 'echo first; sleep 0.1; echo last; exit 3')).toMatchObject({
    status: 'queued',
    reason: 'queue_paused',
  });
  const before = await logs('a', false);
  expect([textOf(before), before.at(-1)]).toEqual(['', { kind: 'event', value: { ended: null } }]);
  const followed = logs('a', true);
  await set({ q: 1 });
  const records = await followed;
  expect(textOf(records)).toBe('first\nlast\n');
  expect(records.at(-1)).toMatchObject({ kind: 'event', value: { ended: { exit_code: 3, queue: 'q' } } });
});

it('a follower of a queued exec that is cancelled is told of its end', async () => {
  await set({ q: 0 });
  await start('a', 'echo never');
  const followed = logs('a', true);
  const reply = await call(pair.controller, 'exec.cancel', { exec_id: 'a', signal: 'TERM', grace_ms: 0 });
  expect(agentVerbs['exec.cancel'].reply.parse(reply)).toMatchObject({
    already_finished: false,
    state: { reason: 'cancelled', exit_code: 130 },
  });
  const records = await followed;
  expect(textOf(records)).toBe('');
  expect(records.at(-1)).toMatchObject({ kind: 'event', value: { ended: { reason: 'cancelled' } } });
});
