import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { agentVerbs, type ExecReport, type ExecSpec, reportsFromAgent } from '@codex-remote/protocol/schema';
import {
  type Channel,
  call,
  type ExecRecord,
  encodeRecord,
  maxRecordPayloadBytes,
  RecordParser,
  streamId,
} from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileWriter } from '../../src/files/write-file.ts';
import { createHandler } from '../../src/serve/serve-session.ts';
import { type SessionPair, sessionPair } from '../support/session-pair.ts';
import { StoreLab } from '../support/store-lab.ts';
import { waitFor } from '../support/wait-for.ts';

let lab: StoreLab;
let pair: SessionPair;
let stopped = 0;
beforeEach(async () => {
  lab = new StoreLab();
  stopped = 0;
  pair = await sessionPair(
    createHandler({
      store: lab.store,
      writer: new FileWriter(join(lab.home, 'writes')),
      version: '1.2.3',
      stop: () => stopped++,
      trust: () => 0,
    }),
  );
});
afterEach(async () => {
  await pair.close();
  lab.close();
});

interface Body {
  spec?: unknown;
  script?: string;
  stdin?: string;
}

/** In pieces of 1,000 bytes, to cross every boundary. */
function* body(parts: Body): Generator<Uint8Array> {
  const streams: [number, string | undefined][] = [
    [streamId.spec, parts.spec === undefined ? undefined : JSON.stringify(parts.spec)],
    [streamId.script, parts.script],
    [streamId.stdin, parts.stdin],
  ];
  for (const [stream, text] of streams) {
    const bytes = Buffer.from(text ?? '');
    for (let at = 0; at < bytes.byteLength; at += maxRecordPayloadBytes) {
      const record = encodeRecord({
        kind: 'data',
        stream,
        offset: at,
        bytes: bytes.subarray(at, at + maxRecordPayloadBytes),
      });
      for (let cut = 0; cut < record.byteLength; cut += 1_000) yield record.subarray(cut, cut + 1_000);
    }
  }
}

async function* asyncBody(parts: Body): AsyncGenerator<Uint8Array> {
  yield* body(parts);
}

async function start(spec: ExecSpec, rest: Body = {}) {
  const reply = await call(
    pair.controller,
    'exec.start',
    { exec_id: spec.exec_id },
    { body: asyncBody({ spec, ...rest }) },
  );
  return agentVerbs['exec.start'].reply.parse(reply);
}

async function logs(id: string, select: object): Promise<ExecRecord[]> {
  const channel = pair.controller.open('exec.logs', { exec_id: id, select });
  channel.end();
  const parser = new RecordParser();
  const records: ExecRecord[] = [];
  for await (const item of channel) {
    if (item.kind === 'data') records.push(...parser.push(item.bytes.slice()));
  }
  expect(parser.atBoundary).toBe(true);
  return records;
}

const dataOf = (records: ExecRecord[], stream: number) =>
  Buffer.concat(
    records.flatMap((record) => (record.kind === 'data' && record.stream === stream ? [record.bytes] : [])),
  );

describe('exec.start', () => {
  it('runs a script with stdin, both large, and attaches when sent again', async () => {
    const stdin = 'x'.repeat(300_000);
    const script = `#!/bin/sh\n${'# filler\n'.repeat(20_000)}wc -c; exit 3\n`;
    const spec = lab.spec({ command: { kind: 'script' }, stdin: true });
    expect(await start(spec, { script, stdin })).toMatchObject({ attached: false });
    expect(await lab.store.ended(spec.exec_id)).toMatchObject({ exit_code: 3 });
    expect(lab.read(spec.exec_id).trim()).toBe('300000');
    expect(await start(spec, { script, stdin })).toMatchObject({ attached: true, state: { exit_code: 3 } });
    await expect(start(spec, { script, stdin: 'other' })).rejects.toMatchObject({ code: 'conflict' });
  });

  it('takes an empty script and an empty stdin', async () => {
    const spec = lab.spec({ command: { kind: 'script' }, stdin: true });
    await start(spec);
    expect(await lab.store.ended(spec.exec_id)).toMatchObject({ exit_code: 0 });
  });

  it.each<[string, string, (spec: ExecSpec) => Body]>([
    ['usage', 'a spec of another shape', (spec) => ({ spec: { ...spec, command: { kind: 'magic' } } })],
    ['usage', 'a variable that is none', (spec) => ({ spec: { ...spec, env: { 'A=B': 'x' } } })],
    ['usage', 'a NUL', (spec) => ({ spec: { ...spec, env: { A: 'x\0y' } } })],
    ['protocol_error', 'no spec', () => ({})],
    ['protocol_error', 'another id', (spec) => ({ spec: { ...spec, exec_id: 'other' } })],
    ['protocol_error', 'a stdin that is not announced', (spec) => ({ spec, stdin: 'x' })],
    ['protocol_error', 'a script that is not announced', (spec) => ({ spec, script: 'x' })],
  ])('refuses with %s: %s', async (code, _what, parts) => {
    const spec = lab.spec({});
    const sent = call(
      pair.controller,
      'exec.start',
      { exec_id: spec.exec_id },
      { body: asyncBody(parts(spec)) },
    );
    await expect(sent).rejects.toMatchObject({ code });
    expect(readdirSync(join(lab.home, 'execs'))).toEqual([]);
  });

  it('keeps nothing of a body that was cut', async () => {
    const spec = lab.spec({ command: { kind: 'script' } });
    const [first] = body({ spec, script: 'x'.repeat(5_000) });
    const channel = pair.controller.open('exec.start', { exec_id: spec.exec_id });
    await channel.write(first ?? new Uint8Array());
    await channel.write(
      encodeRecord({ kind: 'data', stream: streamId.script, offset: 0, bytes: Buffer.from('half') }).subarray(
        0,
        18,
      ),
    );
    channel.end();
    await expect(channel.receive()).rejects.toMatchObject({
      code: expect.stringMatching(/stream_cut|protocol_error/),
    });
    expect(readdirSync(join(lab.home, 'execs'))).toEqual([]);
  });
});

describe('exec.logs', () => {
  it('carries megabytes exactly, over the wire, while a follower of the same exec gets them too', async () => {
    const spec = lab.spec({
      command: {
        kind: 'cmd',
        cmd: 'head -c 20000000 /dev/urandom | tee /dev/stderr | sha256sum >hash; sleep 0.1',
      },
    });
    await start(spec);
    const follow = await logs(spec.exec_id, { streams: ['stdout', 'stderr'], follow: true });
    expect(follow.at(-1)).toMatchObject({
      kind: 'event',
      value: { ended: { status: 'finished', exit_code: 0 } },
    });
    const again = await logs(spec.exec_id, { streams: ['stderr'], follow: false });
    const expected = lab.read('..', 'hash').split(' ')[0];
    for (const records of [follow, again]) {
      expect(createHash('sha256').update(dataOf(records, streamId.stderr)).digest('hex')).toBe(expected);
    }
  });

  it('of an unknown exec is exec_not_found', async () => {
    await expect(logs('nothing', { streams: ['stdout'], follow: false })).rejects.toMatchObject({
      code: 'exec_not_found',
    });
  });

  it('serves 50 followers of one exec, all exact', async () => {
    const spec = lab.spec({
      command: { kind: 'cmd', cmd: 'for i in $(seq 2000); do echo line $i; done; sleep 0.1; echo end' },
    });
    await start(spec);
    const all = await Promise.all(
      Array.from({ length: 50 }, () => logs(spec.exec_id, { streams: ['stdout'], follow: true })),
    );
    const expected = lab.read(spec.exec_id);
    expect(expected.endsWith('line 2000\nend\n')).toBe(true);
    for (const records of all) expect(dataOf(records, streamId.stdout).toString('latin1')).toBe(expected);
  });
});

describe('exec.reports', () => {
  async function* pages(channel: Channel): AsyncGenerator<ExecReport[] | 'done'> {
    for await (const item of channel) {
      const value = item.kind === 'message' ? reportsFromAgent.parse(item.value) : undefined;
      if (value) yield 'reports' in value ? value.reports : 'done';
    }
  }

  async function snapshot(channel: Channel): Promise<ExecReport[]> {
    const found: ExecReport[] = [];
    for await (const page of pages(channel)) {
      if (page === 'done') return found;
      found.push(...page);
    }
    throw new Error('the reports ended before their snapshot');
  }

  it('tells what runs and what is not acknowledged, then changes; an acknowledged one is told no more', async () => {
    const ended = await lab.run('echo out; echo err >&2; exit 5');
    const running = (await lab.start('exec sleep 60')).state.exec_id;
    const channel = pair.controller.open('exec.reports', {});
    const first = await snapshot(channel);
    expect(first.map((report) => report.state.exec_id).sort()).toEqual([ended.exec_id, running].sort());
    const report = first.find((one) => one.state.exec_id === ended.exec_id);
    expect(report).toMatchObject({
      state: { exit_code: 5 },
      stdout_tail: { from: 0 },
      stderr_tail: { from: 0 },
    });
    expect(Buffer.from(report?.stdout_tail?.bytes ?? []).toString()).toBe('out\n');

    await channel.send({ ack: [ended.exec_id, running, 'unknown'] });
    await waitFor('the acknowledgement', () => !lab.store.unacknowledgedIds().includes(ended.exec_id));
    const changes = pages(channel);
    await lab.store.cancel(running, 'KILL', 0);
    await waitFor('the end of the other', async () => {
      const page = await changes.next();
      return page.value !== 'done' && page.value?.some((one: ExecReport) => one.state.status === 'finished');
    });
    channel.end();

    lab.reopen();
    expect(lab.store.unacknowledgedIds()).toEqual([running]);
  });

  it('sends many in pages that fit a message', async () => {
    const noise = `head -c 20000 /dev/zero | tr '\\0' x | tee /dev/stderr`;
    await Promise.all(Array.from({ length: 12 }, () => lab.run(noise)));
    const found = await snapshot(pair.controller.open('exec.reports', {}));
    expect(found.length).toBe(12);
    for (const report of found) {
      expect(report).toMatchObject({
        stdout_tail: { from: 20_000 - 8_192 },
        stderr_tail: { from: 20_000 - 8_192 },
      });
    }
  });
});

describe('the rest', () => {
  it('exec.get answers with state and tails', async () => {
    const { exec_id } = await lab.run('echo hello');
    const reply = agentVerbs['exec.get'].reply.parse(
      await call(pair.controller, 'exec.get', { exec_id, tail_bytes: 3 }),
    );
    expect(reply.state).toMatchObject({ status: 'finished', exit_code: 0 });
    expect([reply.stdout_tail?.from, Buffer.from(reply.stdout_tail?.bytes ?? []).toString()]).toEqual([
      3,
      'lo\n',
    ]);
  });

  it('exec.cancel ends it', async () => {
    const { state } = await lab.start('exec sleep 60');
    const reply = await call(pair.controller, 'exec.cancel', {
      exec_id: state.exec_id,
      signal: 'TERM',
      grace_ms: 1_000,
    });
    expect(reply).toMatchObject({
      already_finished: false,
      leftover_pids: [],
      state: { reason: 'cancelled', exit_code: 143 },
    });
  });

  it('agent.info says who it is, agent.stop what goes on', async () => {
    const { state } = await lab.start('exec sleep 60');
    const info = agentVerbs['agent.info'].reply.parse(await call(pair.controller, 'agent.info', {}));
    expect(info).toMatchObject({ agent_version: '1.2.3', pid: process.pid, running: 1, home: lab.home });
    expect(await call(pair.controller, 'agent.stop', {})).toEqual({ running: [state.exec_id] });
    expect(stopped).toBe(1);
  });

  it.each(['nothing', 'constructor', 'toString', '__proto__'])(
    'the verb %s is unknown [row 85]',
    async (verb) => {
      await expect(call(pair.controller, verb, {})).rejects.toMatchObject({ code: 'unknown_verb' });
    },
  );

  it.each([
    ['exec.get', {}],
    ['exec.get', { exec_id: '../x', tail_bytes: 0 }],
    ['exec.cancel', { exec_id: 'a', signal: 'STOP', grace_ms: 0 }],
    ['exec.logs', { exec_id: 'a', select: { streams: [], follow: false } }],
  ])('%s with %j is refused and harms nothing', async (verb, params) => {
    await expect(call(pair.controller, verb, params)).rejects.toMatchObject({ code: 'usage' });
    expect(await call(pair.controller, 'agent.info', {})).toBeDefined();
  });
});
