import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
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

const cmd = (text: string) => ({ command: { kind: 'cmd' as const, cmd: text } });

describe('kill -9 of the agent', () => {
  it('leaves the job alone; the next agent has it with the same pid and gives its exit code [row 1]', async () => {
    const go = join(lab.home, 'go');
    const spec = lab.spec(cmd(`echo one; while [ ! -e ${go} ]; do sleep 0.02; done; echo two; exit 7`));
    agent = await new AgentProcess(lab.home).ready();
    expect(await agent.start(spec)).toMatchObject({ attached: false, state: { status: 'running' } });
    await waitFor('output', () => lab.read(spec.exec_id) === 'one\n');
    await agent.kill();
    const store = lab.reopen();
    const adopted = store.get(spec.exec_id);
    const pid = adopted.status === 'running' ? adopted.pid : undefined;
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain(go);
    writeFileSync(go, '');
    expect(finished(await store.ended(spec.exec_id))).toMatchObject({
      reason: 'exited',
      exit_code: 7,
      stdout_bytes: 8,
    });
  });

  it('while the job ends: the next agent finds the exit code', async () => {
    const spec = lab.spec(cmd('kill -9 $$'));
    agent = await new AgentProcess(lab.home).ready();
    await agent.start(spec);
    await agent.kill();
    const store = lab.reopen();
    expect(finished(await store.ended(spec.exec_id))).toMatchObject({ exit_code: 137, signal: 'SIGKILL' });
  });

  it('a timeout holds over the restart', async () => {
    const spec = lab.spec({ ...cmd('sleep 60'), timeout_ms: 1_500, grace_ms: 0 });
    agent = await new AgentProcess(lab.home).ready();
    await agent.start(spec);
    await agent.kill();
    const store = lab.reopen();
    const state = finished(await store.ended(spec.exec_id));
    expect(state).toMatchObject({ reason: 'timeout', cancel_requested: true });
    expect(state.duration_ms).toBeGreaterThanOrEqual(1_480);
  });

  it('a cancel under way goes on in the next agent', async () => {
    const spec = lab.spec(cmd('trap "" TERM; echo ready; while :; do sleep 0.05; done'));
    agent = await new AgentProcess(lab.home).ready();
    await agent.start(spec);
    await waitFor('output', () => lab.read(spec.exec_id) === 'ready\n');
    await agent.kill();
    const first = lab.reopen();
    void first.cancel(spec.exec_id, 'TERM', 300);
    await waitFor('the intent', () => lab.read(spec.exec_id, 'journal').includes('"cancel"'));
    const second = lab.reopen();
    expect(finished(await second.ended(spec.exec_id))).toMatchObject({ reason: 'cancelled', exit_code: 137 });
  });
});

describe('kill -9 of the agent during a start', () => {
  it.each([
    'agent.spec.renamed',
    'agent.spec.after',
    'agent.identity.before',
    'agent.identity.after',
  ] as const)(
    '%s: not started, safe to repeat, and never run under this id [row 2] [row 3]',
    async (failpoint) => {
      const marker = join(lab.home, 'ran');
      const spec = lab.spec(cmd(`touch ${marker}`));
      agent = await new AgentProcess(lab.home, failpoint).ready();
      expect(await agent.start(spec)).toBeUndefined();
      const store = lab.reopen();
      const lost = { status: 'lost', reason: 'not_started', safe_to_retry: true };
      // A shim that has not yet met the end of its gate still counts as running.
      expect(await store.ended(spec.exec_id)).toMatchObject(lost);
      expect(await store.start({ spec })).toMatchObject({ attached: true, state: lost });
      await expect(store.start({ spec: { ...spec, cwd: '/' } })).rejects.toMatchObject({ code: 'conflict' });
      await waitFor('the shim to write that it gave up', () =>
        lab.read(spec.exec_id, 'exit').includes('v1 aborted end'),
      );
      expect(existsSync(marker)).toBe(false);
    },
  );

  it('agent.spec.before: nothing was accepted, the id is free', async () => {
    const spec = lab.spec(cmd('exit 3'));
    agent = await new AgentProcess(lab.home, 'agent.spec.before').ready();
    expect(await agent.start(spec)).toBeUndefined();
    const store = lab.reopen();
    expect(() => store.get(spec.exec_id)).toThrow(expect.objectContaining({ code: 'exec_not_found' }));
    expect(await store.start({ spec })).toMatchObject({ attached: false });
    expect(finished(await store.ended(spec.exec_id)).exit_code).toBe(3);
  });

  it('agent.go.after: it runs, once, and the next agent has it [row 4]', async () => {
    const runs = join(lab.home, 'runs');
    const spec = lab.spec(cmd(`echo run >>${runs}; exit 5`));
    agent = await new AgentProcess(lab.home, 'agent.go.after').ready();
    expect(await agent.start(spec)).toBeUndefined();
    const store = lab.reopen();
    expect(await store.start({ spec })).toMatchObject({ attached: true });
    // The gate was open, or it met its end before `go` had reached it: both are told.
    const state = await store.ended(spec.exec_id);
    if (state.status === 'finished') {
      expect(state.exit_code).toBe(5);
      expect(readFileSync(runs, 'utf8')).toBe('run\n');
    } else {
      expect(state).toMatchObject({ reason: 'not_started', safe_to_retry: true });
      expect(existsSync(runs)).toBe(false);
    }
  });
});

describe('a lost shim', () => {
  const shimOf = (id: string) => {
    const line =
      lab
        .read(id, 'journal')
        .split('\n')
        .find((text) => text.includes('"identity"')) ?? '';
    return JSON.parse(line).identity.shim.pid as number;
  };

  const jobPid = (id: string) =>
    waitFor('the pid', () => {
      const now = lab.store.get(id);
      return now.status === 'running' && now.pid;
    });

  it('its outer shell killed: the waiter still records the exit [row 5]', async () => {
    lab.reopen();
    const go = join(lab.home, 'go');
    const { state } = await lab.start(`while [ ! -e ${go} ]; do sleep 0.02; done; exit 4`);
    // Not before it has forked: then there would be no waiter.
    await jobPid(state.exec_id);
    process.kill(shimOf(state.exec_id), 'SIGKILL');
    await waitFor('the warning', () => lab.store.get(state.exec_id).warnings?.includes('supervisor_lost'));
    writeFileSync(go, '');
    expect(finished(await lab.store.ended(state.exec_id))).toMatchObject({ exit_code: 4 });
  });

  it('all of it killed: running while the job lives, then lost, never 0 [row 5]', async () => {
    lab.reopen();
    const go = join(lab.home, 'go');
    const { state } = await lab.start(`trap "" PIPE; while [ ! -e ${go} ]; do sleep 0.02; done; exit 0`);
    const id = state.exec_id;
    await jobPid(id);
    const shim = shimOf(id);
    for (const stat of lab.table.sessionMembers(shim)) process.kill(stat.pid, 'SIGKILL');
    await waitFor('the warning', () => lab.store.get(id).warnings?.includes('supervisor_lost'));
    expect(lab.store.get(id).status).toBe('running');
    writeFileSync(go, '');
    expect(await lab.store.ended(id)).toMatchObject({
      status: 'lost',
      reason: 'shim_died',
      safe_to_retry: false,
    });
  });

  it('killed together with the job: no record [row 6]', async () => {
    lab.reopen();
    const { state } = await lab.start('exec sleep 60');
    const id = state.exec_id;
    const pid = await waitFor('the pid', () => {
      const now = lab.store.get(id);
      return now.status === 'running' && now.pid;
    });
    for (const stat of lab.table.sessionMembers(shimOf(id))) process.kill(stat.pid, 'SIGKILL');
    process.kill(pid, 'SIGKILL');
    expect(await lab.store.ended(id)).toMatchObject({ status: 'lost', safe_to_retry: false });
  });
});
