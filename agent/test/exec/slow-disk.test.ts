import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'traced-'));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

function traced(holdMs: number, cmd: string) {
  const fixture = join(import.meta.dirname, '../fixtures/traced-start.ts');
  const output = execFileSync(process.execPath, [fixture, home, String(holdMs), cmd], { encoding: 'utf8' });
  return JSON.parse(output) as {
    order: string[];
    startMs: number;
    state: Record<string, unknown>;
    ended: Record<string, unknown>;
  };
}

it('answers and lets the job go only when file, folder and the name of the folder are on disk [row 39]', () => {
  const { order, state } = traced(0, 'true');
  expect(state).toMatchObject({ exec_id: 'one', status: expect.stringMatching(/running|finished/) });
  const at = (event: string): number => {
    expect(order).toContain(event);
    return order.indexOf(event);
  };
  const renamed = at('renamed to execs/one');
  const synced = ['execs/one/journal', 'execs/one', 'execs'].map((path) => at(`synced ${path}`));
  expect(Math.min(...synced)).toBeGreaterThan(renamed);
  expect(at('go')).toBeGreaterThan(Math.max(...synced));
  expect(at('answered')).toBeGreaterThan(at('go'));
});

it('waits for a disk that is slow at everything, and takes nobody for dead meanwhile [row 43]', {
  timeout: 120_000,
}, () => {
  const holdMs = process.env.CR_FULL === '1' ? 2_000 : 200;
  const runs = join(home, 'runs');
  const { startMs, state, ended } = traced(holdMs, `echo run >>${runs}; sleep 0.3; exit 7`);
  expect(startMs).toBeGreaterThan(holdMs);
  expect(state).toMatchObject({ status: 'running' });
  expect(ended).toMatchObject({ status: 'finished', reason: 'exited', exit_code: 7 });
  expect(ended.warnings).toBeUndefined();
  expect(readFileSync(runs, 'utf8')).toBe('run\n');
});
