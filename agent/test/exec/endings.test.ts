import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { finished, StoreLab } from '../support/store-lab.ts';

let lab: StoreLab;
beforeEach(() => {
  lab = new StoreLab();
});
afterEach(() => lab.close());

describe('how a job ends', () => {
  it.each([
    ['exit 300', 44],
    ['exit -1', 255],
    ['exit 256', 0],
    ['exit 143', 143],
  ])('%s is the low 8 bits, and an exit [row 24]', async (cmd, code) => {
    const truth = join(lab.home, 'truth');
    const state = await lab.run(`trap 'echo ended >${truth}' EXIT; ${cmd}`);
    expect(state).toMatchObject({ reason: 'exited', exit_code: code });
    expect(state.signal).toBeUndefined();
    expect(readFileSync(truth, 'utf8')).toBe('ended\n');
  });

  it.each([
    ['HUP', 129],
    ['ABRT', 134],
    ['KILL', 137],
    ['ALRM', 142],
    ['TERM', 143],
  ])('death by SIG%s says so, with 128+n [row 24]', async (signal, code) => {
    expect(await lab.run(`ulimit -c 0; kill -${signal} $$`)).toMatchObject({
      reason: 'signaled',
      signal: `SIG${signal}`,
      exit_code: code,
    });
  });
});

describe('want of memory', () => {
  it('takes jobs before the agent: each has oom_score_adj 500, its children too [row 28]', async () => {
    const own = readFileSync('/proc/self/oom_score_adj', 'utf8').trim();
    for (const spec of [{}, { env: { OWN: 'shim' } }]) {
      const { exec_id } = await lab.run(
        'cat /proc/$$/oom_score_adj; sh -c "cat /proc/self/oom_score_adj"',
        spec,
      );
      expect(lab.read(exec_id)).toBe('500\n500\n');
    }
    expect(readFileSync('/proc/self/oom_score_adj', 'utf8').trim()).toBe(own);
  });

  it('a job that can have no more memory ends with its own code, and the agent goes on [row 28]', async () => {
    const truth = join(lab.home, 'truth');
    const state = await lab.run(
      `(ulimit -v 65536; exec perl -e '$x = "a" x 1_000_000_000; print "never"'); echo $? >${truth}; exit $(cat ${truth})`,
    );
    expect(state).toMatchObject({ reason: 'exited', exit_code: Number(readFileSync(truth, 'utf8')) });
    expect(state.exit_code).not.toBe(0);
    expect(lab.read(state.exec_id)).toBe('');
    expect(await lab.run('exit 3')).toMatchObject({ exit_code: 3 });
  });
});

it('a script that is still open for writing elsewhere runs: its interpreter reads it [row 23]', async () => {
  const script = await lab.spool('#!/bin/sh\necho "ran $0"\nexit 5\n');
  const held = openSync(script.path, 'r+');
  try {
    const spec = lab.spec({ command: { kind: 'script' } });
    await lab.store.start({ spec, script });
    expect(finished(await lab.store.ended(spec.exec_id))).toMatchObject({ reason: 'exited', exit_code: 5 });
    expect(lab.read(spec.exec_id)).toContain('ran ');
    expect(lab.read(spec.exec_id, 'stderr')).toBe('');
  } finally {
    closeSync(held);
  }
});
