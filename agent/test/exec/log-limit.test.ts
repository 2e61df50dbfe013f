import { statSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import { afterEach, describe, expect, it } from 'vitest';
import { readLogs } from '../../src/logs/read-logs.ts';
import { AgentProcess } from '../support/agent-process.ts';
import { Collected } from '../support/collected.ts';
import { StoreLab } from '../support/store-lab.ts';
import { waitFor } from '../support/wait-for.ts';

const kilobyte = 1024;
const limit = 256 * kilobyte;
/** Numbered lines of 10 bytes: what stands at an offset is known. */
const numbers = (count: number) => `seq -f %09.0f 0 ${count - 1}`;

/** The same in four parts, the N-th of 500,000 bytes. */
const part = (n: string) => `seq -f %09.0f $((${n} * 50000)) $((${n} * 50000 + 49999))`;

function numbered(from: number, to: number): string {
  const first = Math.floor(from / 10);
  const lines = Array.from({ length: Math.ceil((to - from) / 10) + 1 }, (_, i) =>
    `${first + i}`.padStart(9, '0'),
  );
  return `${lines.join('\n')}\n`.slice(from - first * 10, to - first * 10);
}

let lab: StoreLab;
afterEach(() => lab.close());

const onDisk = (id: string, name = 'stdout') => statSync(join(lab.home, 'execs', id, name)).blocks * 512;

async function read(id: string, follow = false): Promise<Collected> {
  const sink = new Collected();
  await readLogs({
    source: lab.store.logSource(id),
    select: { streams: ['stdout'], follow },
    sink,
    clock: systemClock,
    gone: sink.gone.promise,
  });
  return sink;
}

/** Every byte is the one that the job wrote there, or is in a gap. Returns how many are in one. */
function expectExact(sink: Collected, size: number): number {
  let at = 0;
  let missing = 0;
  for (const record of sink.records) {
    if (record.kind !== 'data' && record.kind !== 'gap') continue;
    expect(record.offset).toBe(at);
    const length = record.kind === 'gap' ? record.missing : record.bytes.byteLength;
    if (record.kind === 'gap') missing += length;
    else if (Buffer.from(record.bytes).toString('latin1') !== numbered(at, at + length))
      throw new Error(`other bytes than the job's between ${at} and ${at + length}`);
    at += length;
  }
  expect(at).toBe(size);
  return missing;
}

describe('a log beyond its limit', () => {
  it('gives its oldest bytes back, keeps the newest at their offsets, and says what is gone [row 62]', async () => {
    lab = new StoreLab();
    const size = 4_000_000;
    const { state } = await lab.start(`${numbers(size / 10)}; exec sleep 60`, { log_limit_bytes: limit });
    const id = state.exec_id;
    await waitFor('the oldest bytes to go', () => {
      const { stdout_bytes, stdout_dropped_bytes = 0 } = lab.store.get(id);
      return stdout_bytes === size && stdout_bytes - stdout_dropped_bytes <= limit;
    });
    await waitFor('the disk to be given back', () => onDisk(id) <= limit + 8 * kilobyte);
    const { stdout_dropped_bytes = 0 } = lab.store.get(id);
    expect(size - stdout_dropped_bytes).toBeGreaterThanOrEqual(limit - limit / 8);
    expect(expectExact(await read(id), size)).toBe(stdout_dropped_bytes);
    expect(lab.store.report(id, 100)).toMatchObject({ stdout_tail: { from: size - 100 } });
    expect(lab.store.get(id).warnings).toBeUndefined();

    await lab.store.cancel(id, 'KILL', 0);
    lab.reopen();
    expect(lab.store.get(id)).toMatchObject({ stdout_bytes: size, stdout_dropped_bytes });
    expect(expectExact(await read(id), size)).toBe(stdout_dropped_bytes);
  });

  it("shows followers the job's bytes and gaps, never a zero, while it goes on and on", async () => {
    lab = new StoreLab();
    const size = 30_000_000;
    const { state } = await lab.start(numbers(size / 10), { log_limit_bytes: limit });
    const followed = read(state.exec_id, true);
    const also = read(state.exec_id, true);
    await lab.store.ended(state.exec_id);
    for (const sink of await Promise.all([followed, also])) expectExact(sink, size);
  });

  it('is looked after by the next agent, which goes on where one ended between the note and the hole', async () => {
    lab = new StoreLab();
    const { state } = await lab.start(`${numbers(20_000)}; exec sleep 60`, {
      log_limit_bytes: limit,
      cwd: lab.home,
    });
    const id = state.exec_id;
    await waitFor('the output', () => lab.store.get(id).stdout_bytes === 200_000);
    const { folder } = lab.store.logSource(id);
    folder.released.prepare();
    await folder.released.note('stdout', 131_072);
    expect(onDisk(id)).toBeGreaterThanOrEqual(200_000);
    lab.reopen();
    await waitFor('the hole', () => onDisk(id) < 100_000);
    expect(expectExact(await read(id), 200_000)).toBe(131_072);
  });

  it.each([
    'agent.released.before',
    'agent.released.after:2',
    'agent.punch.before',
    'agent.punch.after:2',
  ] as const)('is exact where the agent ends at %s, and is kept within the limit by the next', async (at) => {
    lab = new StoreLab();
    lab.store.close();
    const agent = await new AgentProcess(lab.home, at).ready();
    const size = 2_000_000;
    const spec = lab.spec({
      command: { kind: 'cmd', cmd: `for i in 0 1 2 3; do ${part('$i')}; sleep 0.3; done; exec sleep 60` },
      log_limit_bytes: limit,
    });
    await agent.start(spec);
    await agent.died();
    const id = spec.exec_id;
    lab.reopen();
    await waitFor('all of it, within the limit', () => {
      const { stdout_bytes, stdout_dropped_bytes = 0 } = lab.store.get(id);
      return stdout_bytes === size && stdout_bytes - stdout_dropped_bytes <= limit;
    });
    await waitFor('the disk to be given back', () => onDisk(id) <= limit + 8 * kilobyte);
    expectExact(await read(id), size);
  });

  it('is looked after for as long as something in the background writes to it', async () => {
    lab = new StoreLab();
    const { exec_id: id } = await lab.run(
      `(while ! test -e go; do sleep 0.05; done; ${numbers(100_000)}) &`,
      {
        log_limit_bytes: limit,
        cwd: lab.home,
      },
    );
    expect(lab.store.get(id)).toMatchObject({ writers_remaining: true });
    lab.reopen();
    await lab.start('touch go', { cwd: lab.home });
    await waitFor('the oldest bytes to go', () => (lab.store.get(id).stdout_dropped_bytes ?? 0) > 0);
    await waitFor('the disk to be given back', () => onDisk(id) <= limit + 8 * kilobyte);
    expectExact(await read(id), 1_000_000);
  });

  it('ends the exec where that was asked for, and its beginning is kept', async () => {
    lab = new StoreLab();
    const ended = await lab.run('while :; do echo 123456789; done', {
      log_limit_bytes: limit,
      log_limit_action: 'cancel',
      grace_ms: 2_000,
    });
    expect(ended).toMatchObject({
      reason: 'cancelled',
      cancelled_by: 'log_limit',
      cancel_requested: true,
    });
  });

  it('goes on, with a warning, where nothing can be given back', async () => {
    lab = new StoreLab({ puncher: '/bin/false' });
    const { state } = await lab.start(`${numbers(100_000)}; exec sleep 60`, { log_limit_bytes: limit });
    const id = state.exec_id;
    await waitFor('the warning', () => lab.store.get(id).warnings?.includes('log_limit_off') === true);
    await waitFor('all of it', () => lab.store.get(id).stdout_bytes === 1_000_000);
    expect(expectExact(await read(id), 1_000_000)).toBe(0);
    lab.reopen();
    expect(lab.store.get(id).warnings).toEqual(['log_limit_off']);
  });

  describe('where nothing can be given back and the disk is low', () => {
    let missing = 0;
    const low = () => {
      missing = 1;
      return { puncher: '/bin/false', logReserve: { missing: () => missing } };
    };
    const size = 2_000_000;
    const steadily = `for i in 0 1 2 3; do ${part('$i')}; sleep 0.2; done; exec sleep 60`;

    /** It has stopped growing although there is more. */
    const stands = async (id: string): Promise<number> => {
      await waitFor('the warning', () => lab.store.get(id).warnings?.includes('log_held') === true);
      let last = -1;
      return await waitFor('the log to stand', async () => {
        const before = last;
        last = lab.store.get(id).stdout_bytes;
        await new Promise((resolve) => setTimeout(resolve, 500));
        return before === last && last < size && last;
      });
    };
    const all = (id: string) => waitFor('all of it', () => lab.store.get(id).stdout_bytes === size, 15_000);
    const pumps = (id: string) =>
      lab.table.sessionMembers(lab.store.logSource(id).folder.journal()?.identity?.shim.pid ?? -1);

    it('the job waits for room, and nothing of its output is lost', async () => {
      lab = new StoreLab(low());
      const { state } = await lab.start(steadily, { log_limit_bytes: limit });
      const at = await stands(state.exec_id);
      expect(at).toBeLessThan(size);
      missing = -100_000_000;
      await all(state.exec_id);
      expect(expectExact(await read(state.exec_id), size)).toBe(0);
    });

    it('it goes on when its agent ends in order, and when the next finds that an agent was killed', async () => {
      lab = new StoreLab(low());
      const { state } = await lab.start(steadily, { log_limit_bytes: limit });
      await stands(state.exec_id);
      const stopped = () => pumps(state.exec_id).filter((stat) => stat.state === 'T');
      expect(stopped().length).toBeGreaterThan(0);
      const held = stopped();
      lab.store.close();
      await waitFor('the pumps to go on', () => stopped().length === 0);
      for (const { pid } of held) process.kill(pid, 'SIGSTOP');
      missing = -100_000_000;
      lab.reopen();
      await all(state.exec_id);
      expect(expectExact(await read(state.exec_id), size)).toBe(0);
    });

    it('what is in the pipe when the job ends does not wait', async () => {
      lab = new StoreLab(low());
      const { state } = await lab.start(steadily, { log_limit_bytes: limit });
      await stands(state.exec_id);
      await lab.store.cancel(state.exec_id, 'KILL', 0);
      const ended = await lab.store.ended(state.exec_id);
      expect(ended).toMatchObject({ reason: 'cancelled' });
      await waitFor('the pumps to end', () => lab.store.get(state.exec_id).writers_remaining !== true);
      expectExact(await read(state.exec_id), lab.store.get(state.exec_id).stdout_bytes);
    });
  });
});
