import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Failpoint, ProcessTable } from '@codex-remote/platform';
import type { ExecSpec, ExecState } from '@codex-remote/protocol/schema';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentProcess } from '../support/agent-process.ts';
import { finished, StoreLab } from '../support/store-lab.ts';
import { waitFor } from '../support/wait-for.ts';

let lab: StoreLab;
let agent: AgentProcess | undefined;
beforeEach(() => {
  lab = new StoreLab();
  // The other process is the agent; the lab's own store takes over when it is gone.
  lab.store.close();
});
afterEach(async () => {
  await agent?.kill();
  agent = undefined;
  lab.close();
});

/** Appends its id to `order` each time it runs, and runs until it is let go. */
function spec(id: string, more: Partial<ExecSpec> = {}): ExecSpec {
  const cmd = `echo ${id} >>${join(lab.home, 'order')}; while [ ! -e ${join(lab.home, id)} ]; do sleep 0.02; done`;
  return lab.spec({ exec_id: id, queue: 'q', command: { kind: 'cmd', cmd }, ...more });
}
const letGo = (id: string) => writeFileSync(join(lab.home, id), '');
const runs = (id: string) =>
  existsSync(join(lab.home, 'order'))
    ? readFileSync(join(lab.home, 'order'), 'utf8')
        .split('\n')
        .filter((line) => line === id).length
    : 0;
const secret = 'kept-only-while-queued';
const queuedDir = () => readdirSync(join(lab.home, 'queued'));

describe('kill -9 of the agent with a queue', () => {
  it('keeps the order, the places and what was asked for', async () => {
    agent = await new AgentProcess(lab.home).ready();
    for (const id of ['a', 'c', 'b']) await agent.start(spec(id, { env: { TOKEN: secret } }));
    await agent.kill();
    letGo('c');
    letGo('b');
    const store = lab.reopen();
    expect(store.get('c')).toMatchObject({ status: 'queued', position: 1, waiting_for: ['a'] });
    expect(store.get('b')).toMatchObject({ status: 'queued', position: 2 });
    letGo('a');
    expect(finished(await store.ended('b')).exit_code).toBe(0);
    expect(readFileSync(join(lab.home, 'order'), 'utf8')).toBe('a\nc\nb\n');
  });

  it('a predecessor that ended while there was no agent is seen by the next one', async () => {
    agent = await new AgentProcess(lab.home).ready();
    await agent.start(spec('a'));
    await agent.start(spec('b', { queue: undefined, after: ['a'] } as Partial<ExecSpec>));
    await agent.kill();
    letGo('a');
    await waitFor('the end of a', () => lab.read('a', 'exit').includes('v1 exit 0 end'));
    expect(runs('b')).toBe(0);
    const store = lab.reopen();
    await waitFor('b to run', () => store.get('b').status === 'running');
  });

  it('who only looks starts nothing', async () => {
    agent = await new AgentProcess(lab.home).ready();
    await agent.start(spec('a'));
    await agent.start(spec('b'));
    await agent.kill();
    letGo('a');
    await waitFor('the end of a', () => lab.read('a', 'exit').includes('eof stderr'));
    const store = lab.reopen({ dispatch: false });
    await store.ended('a');
    expect([store.queuedIds(), runs('b')]).toEqual([['b'], 0]);
  });
});

describe('kill -9 of the agent while an exec is being queued', () => {
  it('before it is in place: nothing was accepted', async () => {
    agent = await new AgentProcess(lab.home, 'agent.queued.before').ready();
    await agent.start(spec('a'));
    expect(await agent.start(spec('b', { env: { TOKEN: secret } }))).toBeUndefined();
    const store = lab.reopen();
    expect(() => store.get('b')).toThrow(expect.objectContaining({ code: 'exec_not_found' }));
    expect(queuedDir()).toEqual([]);
    expect(await store.start({ spec: spec('b') })).toMatchObject({
      attached: false,
      state: { status: 'queued' },
    });
  });

  it('after that: it is queued, and sent again it attaches', async () => {
    agent = await new AgentProcess(lab.home, 'agent.queued.after').ready();
    await agent.start(spec('a'));
    expect(await agent.start(spec('b'))).toBeUndefined();
    const store = lab.reopen();
    expect(await store.start({ spec: spec('b') })).toMatchObject({
      attached: true,
      state: { status: 'queued' },
    });
    letGo('a');
    await waitFor('b to run', () => runs('b') === 1);
  });
});

describe('kill -9 of the agent at each step of the start of a queued exec', () => {
  /** Until the agent has killed itself in the start of b; then the next agent has the home. */
  async function crashAt(failpoint: Failpoint | `${Failpoint}:${number}`): Promise<ExecState> {
    agent = await new AgentProcess(lab.home, failpoint).ready();
    await agent.start(spec('a'));
    await agent.start(spec('b', { env: { TOKEN: secret } }));
    letGo('a');
    await agent.died();
    return lab.reopen().get('b');
  }

  it('before its gate: it is still queued, and then runs once', async () => {
    await crashAt('agent.spec.before:3');
    await waitFor('b to run', () => lab.store.get('b').status === 'running' && runs('b') === 1);
    letGo('b');
    expect(finished(await lab.store.ended('b')).exit_code).toBe(0);
    expect(runs('b')).toBe(1);
  });

  it.each([
    'agent.spec.renamed:3',
    'agent.spec.after:3',
    'agent.identity.before:2',
    'agent.identity.after:2',
    'agent.leave.before',
    'agent.leave.after',
  ] as const)(
    '%s: not started, safe to repeat, never run, and no value of --env is left',
    async (failpoint) => {
      await crashAt(failpoint);
      expect(queuedDir()).toEqual([]);
      const lost = { status: 'lost', reason: 'not_started', safe_to_retry: true };
      expect(await lab.store.ended('b')).toMatchObject(lost);
      expect(await lab.store.start({ spec: spec('b', { env: { TOKEN: secret } }) })).toMatchObject({
        attached: true,
        state: lost,
      });
      await waitFor('the shim to write that it gave up', () =>
        lab.read('b', 'exit').includes('v1 aborted end'),
      );
      expect(runs('b')).toBe(0);
      // The place is free for the next one.
      expect(await lab.store.start({ spec: spec('c') })).toMatchObject({ state: { status: 'running' } });
    },
  );

  it('agent.go.after: it runs, once, or its gate met its end first', async () => {
    await crashAt('agent.go.after:2');
    letGo('b');
    const end = await lab.store.ended('b');
    expect(runs('b')).toBe(end.status === 'finished' ? 1 : 0);
    expect(end).toMatchObject(
      end.status === 'finished' ? { exit_code: 0 } : { reason: 'not_started', safe_to_retry: true },
    );
    expect(queuedDir()).toEqual([]);
  });
});

describe('kill -9 of the agent while a queued exec ends without a start', () => {
  it.each(['agent.queued_end.before', 'agent.queued_end.after'] as const)(
    '%s: the end is the same, and it never runs',
    async (failpoint) => {
      agent = await new AgentProcess(lab.home, failpoint).ready();
      await agent.start(lab.spec({ exec_id: 'p', command: { kind: 'cmd', cmd: 'sleep 0.3; exit 3' } }));
      await agent.start(spec('b', { after: ['p'], env: { TOKEN: secret } }));
      await agent.died();
      const store = lab.reopen();
      expect(await store.ended('b')).toMatchObject({
        status: 'lost',
        reason: 'not_started',
        why: 'dependency_failed',
        safe_to_retry: true,
      });
      expect([runs('b'), queuedDir()]).toEqual([0, []]);
    },
  );
});

describe('a full disk', () => {
  /** The system says ENOSPC there; the process lives on. */
  const fullAt = (failpoint: Failpoint) =>
    new AgentProcess(lab.home, undefined, ['/usr/bin/env', `CR_FP=${failpoint}:throw=ENOSPC`]).ready();

  it('while an exec is being queued: refused, nothing of it is left, and its place is free', async () => {
    agent = await fullAt('agent.queued.before');
    await agent.start(spec('a'));
    expect(await agent.start(spec('b', { env: { TOKEN: secret } }))).toMatchObject({
      error: expect.stringContaining('the disk of the machine is full'),
    });
    expect(queuedDir()).toEqual([]);
    await agent.kill();
    expect(() => lab.reopen().get('b')).toThrow(expect.objectContaining({ code: 'exec_not_found' }));
  });

  it('in the middle of the start of a queued exec: it never runs, says why, and the next one has its turn', async () => {
    agent = await fullAt('agent.leave.before');
    await agent.start(spec('a'));
    await agent.start(spec('b', { env: { TOKEN: secret } }));
    await agent.start(spec('c', { after_any: ['b'] }));
    letGo('a');
    await waitFor('the ends of b and c', () => ended('b') && ended('c'));
    await agent.kill();
    const store = lab.reopen();
    const lost = { status: 'lost', reason: 'not_started', why: 'disk_low', safe_to_retry: true };
    expect([store.get('b'), store.get('c')]).toMatchObject([lost, lost]);
    expect([runs('b'), runs('c'), queuedDir()]).toEqual([0, 0, []]);
  });

  const ended = (id: string) =>
    existsSync(join(lab.home, 'execs', id)) && lab.read(id, 'journal').includes('"end"');
});

describe('what a next agent finds', () => {
  beforeEach(async () => {
    agent = await new AgentProcess(lab.home).ready();
    await agent.start(spec('a'));
    await agent.start(spec('b'));
    await agent.kill();
  });

  it('after a reboot: what ran is lost, what was queued runs', async () => {
    const table = new ProcessTable();
    table.bootId = () => 'another-boot';
    const store = lab.reopen({ table });
    expect(store.get('a')).toMatchObject({ status: 'lost', reason: 'reboot' });
    await waitFor('b to run', () => store.get('b').status === 'running');
    letGo('a');
    letGo('b');
    expect(finished(await store.ended('b')).exit_code).toBe(0);
  });

  it('a request that is gone or torn: never run, safe to repeat, and known to the agent after that', async () => {
    rmSync(join(lab.home, 'queued/b/request'));
    const lost = { status: 'lost', reason: 'not_started', safe_to_retry: true };
    expect(lab.reopen().get('b')).toMatchObject(lost);
    expect(lab.reopen().get('b')).toMatchObject(lost);
    await lab.store.start({ spec: spec('c') });
    writeFileSync(join(lab.home, 'queued/c/request'), '{"exec_id":"c');
    letGo('a');
    expect(await lab.store.ended('c')).toMatchObject({ ...lost, why: 'state_unusable' });
    expect([runs('b'), runs('c')]).toEqual([0, 0]);
  });

  it('a queued exec that cannot be read: its id stays taken, nothing waits for it unseen, and it runs once it can', async () => {
    const journal = join(lab.home, 'queued/b/journal');
    renameSync(journal, `${journal}.aside`);
    mkdirSync(journal);
    const store = lab.reopen();
    const unusable = expect.objectContaining({ code: 'state_unusable' });
    expect(() => store.get('b')).toThrow(unusable);
    await expect(store.start({ spec: spec('b') })).rejects.toEqual(unusable);
    await expect(store.start({ spec: spec('c', { after: ['b'] }) })).rejects.toEqual(unusable);
    rmSync(journal, { recursive: true });
    renameSync(`${journal}.aside`, journal);
    expect(store.get('b')).toMatchObject({ status: 'queued', position: 1 });
    letGo('a');
    await waitFor('b to run', () => runs('b') === 1);
  });

  it('a cancel that was noted before the crash: cancelled, not started', async () => {
    const cancel = { cause: 'cancel', signal: 'TERM', at_ms: 0, at_uptime_ms: 0, grace_ms: 0 };
    writeFileSync(join(lab.home, 'queued/b/journal'), `\n${JSON.stringify({ cancel })}\n`, { flag: 'a' });
    const store = lab.reopen();
    expect(store.get('b')).toMatchObject({ status: 'finished', reason: 'cancelled', exit_code: 130 });
    letGo('a');
    await store.ended('a');
    expect([runs('b'), queuedDir()]).toEqual([0, []]);
  });
});
