import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ProcessTable } from '@codex-remote/platform';
import { sized } from '@codex-remote/test/lab';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentProcess } from '../support/agent-process.ts';
import { finished, StoreLab } from '../support/store-lab.ts';
import { waitFor } from '../support/wait-for.ts';

let lab: StoreLab;
let agent: AgentProcess | undefined;
beforeEach(() => {
  lab = new StoreLab();
});
afterEach(async () => {
  await agent?.kill();
  agent = undefined;
  lab.close();
});

/** Seconds between two looks of a job: hundreds that start a process each time leave no time for anything else. */
const pause = sized({ ci: 0.05, full: 2 });

/** Notes its pid and start time, the signals it gets and its exit; ends when `go` is there. */
const witness = (name: string, code: number) => `
  truth=${join(lab.home, name)}
  trap 'echo signalled >>$truth' TERM INT HUP
  read -r stat </proc/$$/stat; echo "start $stat" >>$truth
  while [ ! -e ${join(lab.home, 'go')} ]; do sleep ${pause}; done
  echo "exit ${code}" >>$truth; exit ${code}`;

const truth = (name: string) => readIf(join(lab.home, name)).trim().split('\n');

/** The process that wrote the start. */
function started(name: string): { pid: number; start: number } | undefined {
  const words = (truth(name)[0] ?? '').split(' ');
  return words[0] === 'start' ? { pid: Number(words[1]), start: Number(words[22]) } : undefined;
}

function readIf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

describe('an agent that is started again', () => {
  it('has all of many running jobs, each with its pid, its output and its code, and none ran twice [row 25]', async () => {
    lab.store.close();
    const specs = Array.from({ length: sized({ ci: 50, full: 500 }) }, (_, i) =>
      lab.spec({ command: { kind: 'cmd', cmd: `echo said ${i}; ${witness(`truth-${i}`, i % 100)}` } }),
    );
    agent = await new AgentProcess(lab.home).ready();
    for (const spec of specs) await agent.start(spec);
    const before = await waitFor('the starts', () => {
      const all = specs.flatMap((_, i) => started(`truth-${i}`) ?? []);
      return all.length === specs.length && all;
    });
    await agent.kill();
    const store = lab.reopen();
    expect(store.runningIds().sort()).toEqual(specs.map((spec) => spec.exec_id).sort());
    expect(specs.map((spec) => store.get(spec.exec_id))).toMatchObject(
      before.map(({ pid }) => ({ status: 'running', pid })),
    );
    expect(before.every((job) => lab.table.isAlive(job))).toBe(true);
    writeFileSync(join(lab.home, 'go'), '');
    for (const [i, { exec_id }] of specs.entries()) {
      expect(finished(await store.ended(exec_id))).toMatchObject({ reason: 'exited', exit_code: i % 100 });
      expect(lab.read(exec_id)).toBe(`said ${i}\n`);
      expect(truth(`truth-${i}`).map((line) => line.split(' ')[0])).toEqual(['start', 'exit']);
    }
  }, 120_000);

  it('after a reboot: what ran is lost, what ended is known, and no stored pid gets a signal [row 12]', async () => {
    const ended = await lab.run('exit 6');
    const { state } = await lab.start(witness('truth', 0), { timeout_ms: 600_000 });
    const job = await waitFor('the start', () => started('truth'));
    // The very process goes on, as one that took the pid in another boot would.
    const rebooted = new (class extends ProcessTable {
      override bootId = () => 'another-boot';
    })();
    const store = lab.reopen({ table: rebooted });
    expect(store.get(ended.exec_id)).toEqual(ended);
    const lost = { status: 'lost', reason: 'reboot', safe_to_retry: false };
    expect(store.get(state.exec_id)).toMatchObject(lost);
    for (const signal of ['TERM', 'KILL'] as const) {
      expect(await store.cancel(state.exec_id, signal, 0)).toMatchObject({
        already_finished: true,
        leftover_pids: [],
        state: lost,
      });
    }
    expect(lab.table.isAlive(job)).toBe(true);
    expect(truth('truth')).toHaveLength(1);
  });
});

describe('a job whose shim was killed', () => {
  it('and which a cancel ends: lost, with the cancel, never a code that nobody recorded [row 6]', async () => {
    const { state } = await lab.start(witness('truth', 0));
    const job = await waitFor('the start', () => started('truth'));
    const shim = new ProcessTable().stat(job.pid)?.parent ?? 0;
    const session = lab.table.stat(shim)?.session ?? -1;
    for (const stat of lab.table.sessionMembers(session)) process.kill(stat.pid, 'SIGKILL');
    await waitFor('the warning', () => lab.store.get(state.exec_id).warnings?.includes('supervisor_lost'));
    expect(await lab.store.cancel(state.exec_id, 'KILL', 0)).toMatchObject({
      already_finished: false,
      leftover_pids: [],
      state: { status: 'lost', reason: 'shim_died', cancel_requested: true, safe_to_retry: false },
    });
    expect(lab.table.isAlive(job)).toBe(false);
    expect(truth('truth')).toHaveLength(1);
  });
});
