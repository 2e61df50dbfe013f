import { type ExecReport, execReport } from '@codex-remote/protocol/schema';
import { type Channel, encodeRecord } from '@codex-remote/protocol/wire';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { followReports } from '../../src/execs/reports.ts';
import { RequestBody } from '../../src/execs/request-body.ts';
import { execsWorld, finished, running } from './machine-stand-in.ts';

const never = new AbortController().signal;
const body = () => new RequestBody((async function* () {})());
const worlds: ReturnType<typeof execsWorld>[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.close();
});

/** Two machines: `honest` runs `job`, and `liar` answers as told. */
async function world(lies: (channel: Channel, verb: string) => unknown) {
  const made = execsWorld(['honest', 'liar']);
  worlds.push(made);
  made.connect('honest', () => ({ state: running('job') }));
  await made.history.record('honest', [{ state: running('job') }]);
  made.connect('liar', lies);
  const session = made.links.of('liar').live?.session;
  if (!session) throw new Error('not connected');
  const follow = () => followReports(session, 'liar', made.history, made.changes).catch(() => undefined);
  const untouched = async () => {
    expect(await made.execs.get('job', 'honest', 0, never)).toMatchObject({
      machine: 'honest',
      machine_connected: true,
      state: { status: 'running' },
    });
    expect(made.history.get('honest', 'job')?.report.state.status).toBe('running');
  };
  return { ...made, session, follow, untouched };
}

/** Reports `reports` when asked, and is quiet then. */
const reporting =
  (...reports: unknown[]) =>
  async (channel: Channel, verb: string): Promise<void> => {
    if (verb !== 'exec.reports') return;
    await channel.send({ reports });
    await channel.send({ snapshot_done: true });
  };

describe("a machine that speaks of another machine's exec", () => {
  test('in a report: it has an exec of that name itself, and who waits for the other waits on [row 84]', async () => {
    const { execs, history, follow, untouched } = await world(reporting({ state: finished('job') }));
    const asked = new AbortController();
    const waiting = execs.wait(['job'], 'honest', 'all', 300, asked.signal);
    void follow();
    await expect.poll(() => history.get('liar', 'job')?.report.state.status).toBe('finished');
    expect((await waiting).done).toBe(false);
    await untouched();
    // Both say that it is theirs: nobody is believed without a word from the caller.
    await expect(execs.get('job', undefined, 0, never)).rejects.toMatchObject({ code: 'ambiguous_id' });
  });

  test('in the answer to a start: the session ends, and nothing of it is kept [row 84]', async () => {
    const { execs, history, session, untouched } = await world(() => ({
      state: finished('job'),
      attached: false,
    }));
    await expect(execs.start('liar', 'mine', body(), 0, never)).rejects.toMatchObject({
      code: 'protocol_error',
    });
    expect(session.ended).toMatchObject({ code: 'protocol_error', details: { facts: { value: 'job' } } });
    expect(history.get('liar', 'job')).toBeUndefined();
    await untouched();
  });

  test('in the answer to a cancel and to a question [row 84]', async () => {
    for (const verb of ['cancel', 'get'] as const) {
      const { execs, history, session, untouched } = await world(() => ({
        ...{ state: finished('job'), already_finished: true, leftover_pids: [] },
      }));
      await history.record('liar', [{ state: running('mine') }]);
      const asked =
        verb === 'get'
          ? execs.get('mine', 'liar', 0, never)
          : execs.cancel('mine', 'liar', { signal: 'TERM', grace_ms: 0 }, 0, never);
      await expect(asked).rejects.toMatchObject({ code: 'protocol_error' });
      expect(session.ended?.code).toBe('protocol_error');
      await untouched();
    }
  });

  test('at the end of a log [row 84]', async () => {
    const { execs, history, session, untouched } = await world(async (channel) => {
      await channel.write(encodeRecord({ kind: 'event', value: { ended: finished('job') } }));
      channel.end();
    });
    await history.record('liar', [{ state: running('mine') }]);
    const select = { streams: ['stdout' as const], follow: true };
    await expect(execs.logs('mine', 'liar', select, async () => undefined, never)).rejects.toMatchObject({
      code: 'protocol_error',
    });
    expect(session.ended?.code).toBe('protocol_error');
    await untouched();
  });

  test('a lie about an id that nobody knows here hides no machine that has it [row 84]', async () => {
    const { execs } = await world(() => ({ state: running('other') }));
    worlds.at(-1)?.connect('honest', () => ({ state: running('new') }));
    expect((await execs.get('new', undefined, 0, never)).machine).toBe('honest');
  });
});

describe('a report of a machine', () => {
  test.each([
    ['an id that is a path', { exec_id: '../../x' }],
    ['an id of 10 kB', { exec_id: 'x'.repeat(10_000) }],
    ['an id with a newline', { exec_id: 'a\nb' }],
    ['the id __proto__', { exec_id: '__proto__' }],
    ['a time that is none', { accepted_at: 'yesterday' }],
    ['a time of another calendar', { accepted_at: '+275760-09-13T00:00:00.000Z' }],
    ['a month that there is not', { accepted_at: '2026-13-01T00:00:00.000Z' }],
    ['a queue that is a path', { queue: '../q' }],
    ['a size that is no number', { stdout_bytes: 'many' }],
    ['a size beyond 2^53', { stdout_bytes: 2 ** 60 }],
    ['a status of its own', { status: 'constructor' }],
  ])('with %s ends its session, and no other [row 84] [row 87]', async (_what, odd) => {
    const { history, session, follow, untouched } = await world(
      reporting({ state: { ...running('mine'), ...odd } }),
    );
    void follow();
    expect((await session.closed).code).toBe('protocol_error');
    expect(history.list({ machine: 'liar', limit: 9, ended_after_ms: 0 }).total).toBe(0);
    await untouched();
  });

  test('with whatever texts its fields may have is kept as it is, and holds up nobody [row 84] [row 87]', async () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 60 }),
      fc.constantFrom('../../x', 'a\0b', '\n', "'; DROP TABLE exec; --", 'x'.repeat(10_000), '$(id)', '-rf'),
    );
    const fields = fc.record(
      {
        digest: text,
        command: text,
        cwd: text,
        label: text,
        session: text,
        caller_cwd: text,
        warnings: fc.array(text, { maxLength: 5 }),
      },
      { requiredKeys: ['digest', 'command'] },
    );
    const { history, untouched } = await world(() => undefined);
    await fc.assert(
      fc.asyncProperty(fields, fc.boolean(), async (odd, over) => {
        const report: ExecReport = execReport.parse({
          state: { ...(over ? finished('mine') : running('mine')), ...odd },
        });
        await history.record('liar', [report]);
        expect(history.find('mine', ['liar'], 5)[0]?.report.state).toEqual(report.state);
        history.forgetMachine('liar');
      }),
      { numRuns: 100 },
    );
    await untouched();
  });
});
