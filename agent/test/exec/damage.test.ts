import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { ProcessTable } from '@codex-remote/platform';
import type { ExecSpec, ExecState } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { finished, StoreLab } from '../support/store-lab.ts';
import { waitFor } from '../support/wait-for.ts';

let lab: StoreLab;
let runs: string;
let go: string;
beforeEach(() => {
  lab = new StoreLab({ spares: 0 });
  runs = join(lab.home, 'runs');
  go = join(lab.home, 'go');
});
afterEach(() => lab.close());

/** Each start writes a line of its own: a second one cannot hide. */
const timesRun = () => readFileSync(runs, 'utf8').split('\n').length - 1;
const quick = (): ExecSpec =>
  lab.spec({ command: { kind: 'cmd', cmd: `echo run >>${runs}; exit 7` }, label: 'kept' });
const waiting = (): ExecSpec =>
  lab.spec({
    command: { kind: 'cmd', cmd: `echo run >>${runs}; while [ ! -e ${go} ]; do sleep 0.02; done; exit 7` },
  });
const path = (id: string, name: string) => join(lab.home, 'execs', id, name);

/** Every byte is tried where lines are read; here, where folders are judged, one of a few. */
const stride = process.env.CR_FULL === '1' ? 1 : 7;

/**
 * Copies of one exec's folder, each damaged at another byte of the first `bytes`: one opening of a store judges them all.
 * By byte, the id of its copy.
 */
function copies(
  id: string,
  bytes: number,
  damage: (folder: string, at: number) => void,
): ReadonlyMap<number, string> {
  const made = new Map<number, string>();
  for (let at = 0; at < bytes; at += stride) {
    const copy = `copy-${at}`;
    mkdirSync(path(copy, ''), { mode: 0o700 });
    for (const name of ['journal', 'exit', 'shim', 'stdout', 'stderr'])
      copyFileSync(path(id, name), path(copy, name));
    damage(path(copy, ''), at);
    made.set(at, copy);
  }
  return made;
}

/** Sent again, the id attaches or is refused; it never runs. */
async function expectNoSecondStart(ids: readonly string[], spec: ExecSpec): Promise<void> {
  for (const id of ids) {
    const again = await lab.store.start({ spec: { ...spec, exec_id: id } }).catch((error: unknown) => error);
    if (again instanceof RemoteError) expect(['conflict', 'state_unusable']).toContain(again.code);
    else expect([id, again]).toMatchObject([id, { attached: true }]);
  }
  expect(timesRun()).toBe(1);
}

async function ran(spec: ExecSpec): Promise<ExecState> {
  await lab.store.start({ spec });
  return lab.store.ended(spec.exec_id);
}

describe('a journal that was cut', () => {
  it('at any byte, after the end: the exit code is told by the record, and the id never runs again [row 35]', async () => {
    const spec = quick();
    await ran(spec);
    lab.store.close();
    const { length } = readFileSync(path(spec.exec_id, 'journal'));
    const ids = copies(spec.exec_id, length, (folder, at) => truncateSync(join(folder, 'journal'), at));
    lab.store = lab.open();
    for (const id of ids.values())
      expect([id, await lab.store.ended(id)]).toMatchObject([id, { status: 'finished', exit_code: 7 }]);
    await expectNoSecondStart([...ids.values()], spec);
  });

  it('at any byte, while the job runs: running, or lost and not safe to repeat [row 35]', async () => {
    const spec = waiting();
    await lab.store.start({ spec });
    await waitFor('the job', () => existsSync(runs));
    lab.store.close();
    const journal = readFileSync(path(spec.exec_id, 'journal'), 'utf8');
    const specEnd = journal.indexOf('"}\n') + 2;
    const ids = copies(spec.exec_id, journal.length, (folder, at) =>
      truncateSync(join(folder, 'journal'), at),
    );
    lab.store = lab.open();
    for (const [at, id] of ids) {
      const expected =
        at >= specEnd
          ? { status: 'running' }
          : { status: 'lost', reason: 'state_removed', safe_to_retry: false };
      expect([at, lab.store.get(id)]).toMatchObject([at, expected]);
    }
    await expectNoSecondStart([...ids.values()], spec);
  });

  it('without its identity, the job is found by what its shim recorded, and its exit code is told [row 35] [row 37]', async () => {
    const spec = waiting();
    await lab.store.start({ spec });
    await waitFor('the job', () => existsSync(runs));
    const pid = await waitFor('its pid', () => {
      const state = lab.store.get(spec.exec_id);
      return state.status === 'running' && state.pid;
    });
    lab.store.close();
    const journal = readFileSync(path(spec.exec_id, 'journal'), 'utf8');
    truncateSync(path(spec.exec_id, 'journal'), journal.indexOf('{"identity"') + 9);
    const warned: object[] = [];
    lab.store = lab.open({ log: { warn: (said: object) => void warned.push(said) } });
    expect(lab.store.get(spec.exec_id)).toMatchObject({ status: 'running', pid });
    // What was found is kept beside, and told.
    expect(readFileSync(path(spec.exec_id, 'journal.bad'), 'utf8')).toMatch(/\{"identit$/);
    expect(warned).toMatchObject([{ exec: spec.exec_id, path: path(spec.exec_id, 'journal') }]);
    writeFileSync(go, '');
    expect(finished(await lab.store.ended(spec.exec_id)).exit_code).toBe(7);
    expect(timesRun()).toBe(1);
  });
});

describe('a byte that was changed', () => {
  it.each(['journal', 'exit'] as const)(
    'in %s: the same answer, or one that says it is damaged, and no second start [row 36]',
    async (name) => {
      const spec = quick();
      const truth = await ran(spec);
      lab.store.close();
      const text = readFileSync(path(spec.exec_id, 'journal'), 'utf8');
      // Judged anew: the verdict alone would answer for everything else.
      writeFileSync(path(spec.exec_id, 'journal'), text.slice(0, text.indexOf('\n{"end"')));
      const bytes = readFileSync(path(spec.exec_id, name));
      const count = name === 'exit' ? bytes.indexOf('\n\n') + 2 : bytes.length;
      const ids = copies(spec.exec_id, count, (folder, at) => {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ (1 << (at % 7));
        writeFileSync(join(folder, name), changed);
      });
      lab.store = lab.open();
      const same = ['digest', 'command', 'label', 'mode', 'accepted_at', 'exit_code', 'reason'] as const;
      const view = (state: ExecState) =>
        Object.fromEntries(same.map((key) => [key, state[key as keyof ExecState]]));
      for (const [at, id] of ids) {
        const state = await lab.store.ended(id);
        if (state.warnings?.includes('state_damaged')) {
          if (state.status === 'finished') expect([at, state.exit_code]).toEqual([at, 7]);
          else expect([at, state]).toMatchObject([at, { status: 'lost', safe_to_retry: false }]);
        } else expect([at, view(state)]).toEqual([at, view(truth)]);
      }
      await expectNoSecondStart([...ids.values()], spec);
    },
  );
});

describe('a file of an exec that is gone, empty or foreign', () => {
  const foreign = '{"name":"some-package","version":"1.0.0"}\n';
  it.each([
    ['journal', 'gone'],
    ['journal', 'empty'],
    ['journal', 'foreign'],
    ['exit', 'gone'],
    ['exit', 'empty'],
    ['exit', 'foreign'],
  ] as const)('%s %s, after the end: its code or lost, and no second start [row 37]', async (name, what) => {
    const spec = quick();
    await ran(spec);
    lab.store.close();
    const text = readFileSync(path(spec.exec_id, 'journal'), 'utf8');
    writeFileSync(path(spec.exec_id, 'journal'), text.slice(0, text.indexOf('\n{"end"')));
    if (what === 'gone') rmSync(path(spec.exec_id, name));
    else writeFileSync(path(spec.exec_id, name), what === 'empty' ? '' : foreign);
    lab.store = lab.open();
    const state = lab.store.get(spec.exec_id);
    expect(state).toMatchObject(
      name === 'journal' ? { status: 'finished', exit_code: 7 } : { status: 'lost', safe_to_retry: false },
    );
    await expectNoSecondStart([spec.exec_id], spec);
  });

  it('an emptied folder keeps its id: lost, and no second start [row 37]', async () => {
    const spec = quick();
    await ran(spec);
    lab.store.close();
    for (const name of readdirSync(path(spec.exec_id, ''))) rmSync(path(spec.exec_id, name));
    lab.store = lab.open();
    expect(lab.store.get(spec.exec_id)).toMatchObject({
      status: 'lost',
      reason: 'state_removed',
      safe_to_retry: false,
    });
    await expectNoSecondStart([spec.exec_id], spec);
  });
});

/** The real process table, as long as the system lets it look. */
class Shut extends ProcessTable {
  shut = false;
  override stat(pid: number) {
    if (this.shut) throw new RemoteError('fds_exhausted', 'EMFILE: too many open files');
    return super.stat(pid);
  }
}

describe('what cannot be read is not lost', () => {
  it('nobody is taken for dead while the process table cannot be read [row 45]', async () => {
    const spec = waiting();
    await lab.store.start({ spec });
    await waitFor('the job', () => existsSync(runs));
    lab.store.close();
    const table = new Shut();
    table.shut = true;
    lab.store = lab.open({ table });
    expect(() => lab.store.get(spec.exec_id)).toThrow(expect.objectContaining({ code: 'fds_exhausted' }));
    await expect(lab.store.start({ spec })).rejects.toMatchObject({ code: 'fds_exhausted' });
    table.shut = false;
    expect(lab.store.get(spec.exec_id)).toMatchObject({ status: 'running' });
    // Adopted, it is asked again and again.
    table.shut = true;
    writeFileSync(go, '');
    await waitFor('the exit', () => readFileSync(path(spec.exec_id, 'exit'), 'latin1').includes('v1 check'));
    expect(finished(await lab.store.ended(spec.exec_id)).exit_code).toBe(7);
    expect(timesRun()).toBe(1);
  });

  it('a journal that is a folder or a symlink says state_unusable with its path, and its id stays taken [row 48]', async () => {
    const spec = quick();
    await ran(spec);
    lab.store.close();
    cpSync(path(spec.exec_id, 'journal'), join(lab.home, 'elsewhere'));
    rmSync(path(spec.exec_id, 'journal'));
    mkdirSync(path(spec.exec_id, 'journal'));
    lab.store = lab.open();
    const unusable = {
      code: 'state_unusable',
      message: expect.stringContaining(path(spec.exec_id, 'journal')),
    };
    expect(() => lab.store.get(spec.exec_id)).toThrow(expect.objectContaining(unusable));
    await expectNoSecondStart([spec.exec_id], spec);
    rmSync(path(spec.exec_id, 'journal'), { recursive: true });
    symlinkSync(join(lab.home, 'elsewhere'), path(spec.exec_id, 'journal'));
    expect(() => lab.store.get(spec.exec_id)).toThrow(expect.objectContaining(unusable));
    rmSync(path(spec.exec_id, 'journal'));
    cpSync(join(lab.home, 'elsewhere'), path(spec.exec_id, 'journal'));
    expect(lab.store.get(spec.exec_id)).toMatchObject({ status: 'finished', exit_code: 7 });
  });
});
