import { afterEach, expect, it } from 'vitest';
import type { EndedJob, Settled, SettleStep } from '../../src/exec/settle.ts';
import { finished, StoreLab } from '../support/store-lab.ts';
import { waitFor } from '../support/wait-for.ts';

let lab: StoreLab;
afterEach(() => lab.close());

/** A step that takes as long as its test wants; every exec has it, but those of the label `nothing`. */
class HeldStep implements SettleStep {
  readonly name = 'held';
  /** Ids, each time that it is done. */
  readonly done: string[] = [];
  #held = Promise.withResolvers<Settled>();

  isNeeded({ spec }: EndedJob): boolean | Promise<boolean> {
    return spec.label !== 'nothing' && Promise.resolve(true);
  }

  async settle({ spec }: EndedJob, signal: AbortSignal): Promise<Settled> {
    this.done.push(spec.exec_id);
    const cut = Promise.withResolvers<Settled>();
    signal.addEventListener('abort', () => cut.resolve({ warnings: ['cut'] }));
    return Promise.race([this.#held.promise, cut.promise]);
  }

  letGo(settled: Settled): void {
    this.#held.resolve(settled);
    this.#held = Promise.withResolvers();
  }
}

const limits = { lookMs: 1_000, stepMs: 60_000, stopMs: 20 };

function open(...steps: SettleStep[]): void {
  lab = new StoreLab({ settle: { steps, limits } });
}

const isSettling = (id: string) =>
  waitFor('settling', () => {
    const state = lab.store.get(id);
    return state.status === 'running' && state.settling === true && state;
  });

it('an exec runs until what comes before its verdict is done, and is told once, with that', async () => {
  const step = new HeldStep();
  open(step);
  const told: string[] = [];
  lab.store.onChange((state) => told.push(state.status));
  const { state } = await lab.start('exit 7');
  expect(await isSettling(state.exec_id)).not.toHaveProperty('pid');
  expect(lab.read(state.exec_id, 'journal')).not.toContain('"end"');
  step.letGo({ warnings: ['found'] });
  const end = finished(await lab.store.ended(state.exec_id));
  expect(end).toMatchObject({ exit_code: 7, reason: 'exited', warnings: ['found'] });
  expect(told.filter((status) => status === 'finished')).toHaveLength(1);
  expect(lab.read(state.exec_id, 'journal').match(/\{"end"/g)).toHaveLength(1);
  expect(lab.reopen().get(state.exec_id)).toMatchObject({ exit_code: 7, warnings: ['found'] });
  expect(step.done).toEqual([state.exec_id]);
});

it('one that has nothing of the kind is not held up', async () => {
  const step = new HeldStep();
  open(step);
  expect(await lab.run('exit 3', { label: 'nothing' })).toMatchObject({ exit_code: 3 });
  expect(step.done).toEqual([]);
});

it('an agent that stops in the middle tells nothing; the next one does it again', async () => {
  const step = new HeldStep();
  open(step);
  const { state } = await lab.start('exit 7');
  await isSettling(state.exec_id);
  lab.reopen();
  await waitFor('another time', () => step.done.length === 2);
  expect(lab.read(state.exec_id, 'journal')).not.toContain('"end"');
  step.letGo({ warnings: ['found'] });
  expect(await lab.store.ended(state.exec_id)).toMatchObject({ exit_code: 7, warnings: ['found'] });
  expect(step.done).toEqual([state.exec_id, state.exec_id]);
});

it('a cancel of then cuts it short, and changes nothing of how the job ended', async () => {
  const step = new HeldStep();
  open(step);
  const { state } = await lab.start('exit 7');
  await isSettling(state.exec_id);
  const cancelled = await lab.store.cancel(state.exec_id, 'TERM', 60_000);
  expect(cancelled).toMatchObject({ already_finished: true, state: { exit_code: 7, reason: 'exited' } });
  expect(cancelled.state.warnings).toEqual(['cut']);
});

it('the cancel that ends a job waits for it', async () => {
  const step = new HeldStep();
  open(step);
  const { state } = await lab.start('exec sleep 60');
  const cancelled = lab.store.cancel(state.exec_id, 'TERM', 60_000);
  await isSettling(state.exec_id);
  step.letGo({ warnings: ['found'] });
  expect(await cancelled).toMatchObject({
    already_finished: false,
    state: { status: 'finished', reason: 'cancelled', exit_code: 143, warnings: ['found'] },
  });
});

it('what does not come to an end, or fails, is told as such: the exit code never waits for it', async () => {
  const deaf: SettleStep = { name: 'deaf', isNeeded: () => true, settle: () => new Promise(() => undefined) };
  const broken: SettleStep = {
    name: 'broken',
    isNeeded: () => Promise.reject(new Error('cannot look')),
    settle: () => Promise.reject(new Error('cannot do it')),
  };
  const silent: SettleStep = { ...broken, name: 'silent', isNeeded: () => new Promise(() => undefined) };
  lab = new StoreLab({
    settle: { steps: [deaf, broken, silent], limits: { lookMs: 5, stepMs: 10, stopMs: 5 } },
  });
  expect(await lab.run('exit 7')).toMatchObject({
    exit_code: 7,
    warnings: ['deaf_unsettled', 'broken_unsettled', 'silent_unsettled'],
  });
});

it('the end of a job that came while there was no agent is followed by it, too', async () => {
  const step = new HeldStep();
  open(step);
  const { state } = await lab.start('exit 7');
  lab.store.close();
  await waitFor('the exit', () => lab.read(state.exec_id, 'exit').includes('v1 eof stderr end'));
  lab.store = lab.open();
  await waitFor('it', () => step.done.length === 1);
  step.letGo({});
  expect(await lab.store.ended(state.exec_id)).toMatchObject({ exit_code: 7 });
});
