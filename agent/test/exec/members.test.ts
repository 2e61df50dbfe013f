import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ProcessTable } from '@codex-remote/platform';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Members } from '../../src/exec/members.ts';

const mark = 'm'.repeat(32);
const job = { pid: 20, start: 100 };

/** A /proc of our own: what it says of a process is what a test writes. */
let proc: string;
beforeEach(() => {
  proc = mkdtempSync(join(tmpdir(), 'proc-'));
});
afterEach(() => rmSync(proc, { recursive: true }));

interface Fake {
  pid: number;
  start?: number;
  session?: number;
  group?: number;
  state?: string;
  mark?: string;
}

function process({ pid, start = 110, session = pid, group = session, state = 'S', mark: word }: Fake): void {
  mkdirSync(join(proc, String(pid)), { recursive: true });
  const fields = [state, 1, group, session, ...Array(15).fill(0), start];
  writeFileSync(join(proc, String(pid), 'stat'), `${pid} (sh) ${fields.join(' ')} 0 0\n`);
  writeFileSync(join(proc, String(pid), 'environ'), word === undefined ? 'A=1\0' : `A=1\0MARK=${word}\0`);
}
const gone = (pid: number) => rmSync(join(proc, String(pid)), { recursive: true });
const members = () => new Members({ job, markName: 'MARK', mark }, new ProcessTable(proc));
const ours = (of: Members) => of.look().ours.map((stat) => stat.pid);

describe('members of a job', () => {
  it('are its session, what carries its mark, and the sessions that these lead', () => {
    process({ pid: 20, start: 100, mark });
    process({ pid: 21, session: 20 });
    process({ pid: 30, mark });
    process({ pid: 31, session: 30 });
    process({ pid: 40, session: 40 });
    process({ pid: 41, session: 40, mark });
    process({ pid: 50, mark: 'other' });
    const look = members().look();
    expect(look.ours.map((stat) => stat.pid)).toEqual([20, 21, 30, 31, 41]);
    expect([...look.sessions]).toEqual([20, 30]);
    expect(look.unsure).toEqual([]);
  });

  it('are nobody when another process has the pid and its session', () => {
    process({ pid: 20, start: 900 });
    process({ pid: 21, start: 901, session: 20 });
    expect(members().look()).toMatchObject({ ours: [], unsure: [] });
  });

  it('are unsure when only the number of the session is left', () => {
    process({ pid: 21, session: 20 });
    expect(members().look()).toMatchObject({ ours: [], unsure: [21] });
  });

  it('stay known by pid and start time when their proof has gone, not by pid alone', () => {
    process({ pid: 20, start: 100, mark });
    process({ pid: 21, session: 20 });
    process({ pid: 22, session: 20 });
    const all = members();
    expect(ours(all)).toEqual([20, 21, 22]);
    gone(20);
    process({ pid: 22, session: 20, start: 500 });
    expect(all.look()).toMatchObject({ ours: [{ pid: 21 }], unsure: [22] });
  });

  it('are proven by a dead leader that nobody has reaped, and the dead one is not among them [row 16]', () => {
    process({ pid: 20, start: 100, state: 'Z' });
    process({ pid: 21, session: 20 });
    expect(members().look()).toMatchObject({ ours: [{ pid: 21 }], unsure: [] });
  });

  it('are not what is older than the job, whatever it carries', () => {
    process({ pid: 20, start: 100, mark });
    process({ pid: 10, start: 50, mark });
    expect(ours(members())).toEqual([20]);
  });
});
