import { systemClock } from '@codex-remote/platform';
import type { ExecState, Hello, LogSelection } from '@codex-remote/protocol/schema';
import {
  type Channel,
  encodeRecord,
  RecordParser,
  RemoteError,
  Session,
  streamId,
} from '@codex-remote/protocol/wire';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { pipe } from '../../../packages/protocol/test/support/pipe.ts';
import { relayLogs } from '../../src/execs/log-relay.ts';
import { MachineLink } from '../../src/links/link.ts';

const ended: ExecState = {
  exec_id: 'e',
  digest: 'd',
  mode: 'async',
  command: 'true',
  accepted_at: '2026-01-01T00:00:00.000Z',
  ended_at: '2026-01-01T00:00:01.000Z',
  duration_ms: 1000,
  status: 'finished',
  reason: 'exited',
  exit_code: 0,
  stdout_bytes: 10_000,
  stderr_bytes: 0,
};
const output = Buffer.from(Array.from({ length: 10_000 }, (_, i) => i % 251));
const info = { connection: 'tunnel' as const, connectedSince: '', hello: { instance_id: 'i' } as Hello };

/** Serves `exec.logs` as an agent does, in records of `step` bytes; the session is cut after `cutAfter` of them. */
async function serve(
  channel: Channel,
  select: LogSelection,
  step: number,
  cutAfter: number,
  cut: () => void,
): Promise<void> {
  const begin =
    select.from?.stdout ?? (select.tail_bytes === undefined ? 0 : output.byteLength - select.tail_bytes);
  const data = (offset: number, bytes: Uint8Array) =>
    channel.write(encodeRecord({ kind: 'data', stream: streamId.stdout, offset, bytes }));
  await data(begin, new Uint8Array(0));
  for (let at = begin, sent = 0; at < output.byteLength; at += step, sent += 1) {
    if (sent === cutAfter) return cut();
    await data(at, output.subarray(at, at + step));
  }
  await channel.write(encodeRecord({ kind: 'event', value: { ended } }));
  channel.end();
}

/** Connects the link, again after every cut; `cuts` says after how many records each session breaks. */
function machine(
  cuts: readonly number[],
  step: number,
): { link: MachineLink; selections: LogSelection[]; stop: () => void } {
  const link = new MachineLink('box', systemClock);
  const selections: LogSelection[] = [];
  const left = [...cuts];
  let live: Session | undefined;
  const connect = (): void => {
    const { agentEnd, controllerEnd } = pipe();
    const cutAfter = left.shift() ?? Number.POSITIVE_INFINITY;
    new Session({
      transport: agentEnd,
      side: 'agent',
      clock: systemClock,
      accept: (channel, _verb, params) => {
        const { select } = params as { select: LogSelection };
        selections.push(select);
        void serve(channel, select, step, cutAfter, () => agentEnd.destroy()).catch(() => undefined);
      },
    });
    live = new Session({ transport: controllerEnd, side: 'controller', clock: systemClock });
    link.attach(live, info);
    void live.closed.then((cause) => {
      if (cause.code !== 'shutting_down') connect();
    });
  };
  connect();
  return { link, selections, stop: () => live?.end(new RemoteError('shutting_down', 'test')) };
}

async function read(link: MachineLink, select: LogSelection): Promise<{ bytes: Buffer; complete: boolean }> {
  const parser = new RecordParser();
  const chunks: Buffer[] = [];
  let next: number | undefined;
  const { complete } = await relayLogs({
    link,
    execId: 'e',
    select,
    firstWaitMs: 1_000,
    resumeWaitMs: 1_000,
    signal: new AbortController().signal,
    write: async (records) => {
      for (const record of parser.push(records)) {
        if (record.kind !== 'data') continue;
        expect(record.offset).toBe(next ?? record.offset);
        next = record.offset + record.bytes.byteLength;
        chunks.push(Buffer.from(record.bytes));
      }
    },
  });
  return { bytes: Buffer.concat(chunks), complete };
}

describe('relayLogs', () => {
  test('whatever is cut wherever, the reader gets every byte once and in order', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(12), { maxLength: 6 }),
        fc.integer({ min: 100, max: 3000 }),
        async (cuts, step) => {
          const { link, stop } = machine(cuts, step);
          const { bytes, complete } = await read(link, { streams: ['stdout'], follow: true });
          stop();
          expect(bytes.equals(output)).toBe(true);
          expect(complete).toBe(true);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('a tail is resumed by offset: it does not jump to the end as it is then', async () => {
    const { link, selections, stop } = machine([2], 100);
    const { bytes } = await read(link, { streams: ['stdout'], tail_bytes: 1_000, follow: true });
    stop();
    expect(bytes.equals(output.subarray(-1_000))).toBe(true);
    expect(selections).toHaveLength(2);
    // Records that were on their way when the connection broke are asked for again.
    expect(selections[1]).toEqual({
      streams: ['stdout'],
      from: { stdout: expect.any(Number) },
      follow: true,
    });
  });

  test.each<[string, LogSelection['from'], readonly number[]]>([
    ['a first record ahead of where it was asked for', { stdout: 100 }, [200]],
    ['one far in the future', undefined, [0, 2 ** 52]],
    ['one of the past', undefined, [0, 100, 0]],
    ['bytes behind 2^53', undefined, [Number.MAX_SAFE_INTEGER - 1]],
    ['a stream that nobody asked for', undefined, [-1]],
  ])(
    '%s ends the session of that machine with protocol_error, and no other [row 60]',
    async (_what, from, offsets) => {
      const { agentEnd, controllerEnd } = pipe();
      const agent = new Session({
        transport: agentEnd,
        side: 'agent',
        clock: systemClock,
        accept: async (channel) => {
          for (const offset of offsets) {
            const stream = offset < 0 ? streamId.stderr : streamId.stdout;
            const bytes = new Uint8Array(100);
            await channel.write(encodeRecord({ kind: 'data', stream, offset: Math.max(0, offset), bytes }));
          }
        },
      });
      const session = new Session({ transport: controllerEnd, side: 'controller', clock: systemClock });
      const link = new MachineLink('box', systemClock);
      link.attach(session, info);
      const other = machine([], 1000);
      await expect(
        read(link, { streams: ['stdout'], follow: true, ...(from ? { from } : {}) }),
      ).rejects.toMatchObject({ code: 'protocol_error' });
      expect(session.ended?.code).toBe('protocol_error');
      expect((await agent.closed).code).toBe('protocol_error');
      expect((await read(other.link, { streams: ['stdout'], follow: true })).bytes.equals(output)).toBe(true);
      other.stop();
    },
  );

  test('what the machine answers to the one request is passed on and not tried again', async () => {
    const { agentEnd, controllerEnd } = pipe();
    let asked = 0;
    new Session({
      transport: agentEnd,
      side: 'agent',
      clock: systemClock,
      accept: (channel) => {
        asked += 1;
        channel.reset(new RemoteError('log_gone', 'the log was removed'));
      },
    });
    const session = new Session({ transport: controllerEnd, side: 'controller', clock: systemClock });
    const link = new MachineLink('box', systemClock);
    link.attach(session, info);
    await expect(read(link, { streams: ['stdout'], follow: true })).rejects.toMatchObject({
      code: 'log_gone',
    });
    expect(asked).toBe(1);
    session.end();
  });
});
