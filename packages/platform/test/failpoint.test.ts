import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const module = join(import.meta.dirname, '../src/failpoint.ts');

/** Comes by twice and says what it was told each time. */
const program = `
  import { failpoint } from '${module}';
  for (const time of [1, 2]) {
    try {
      console.log(time, String(failpoint('key.before')));
    } catch (error) {
      if (error.code === undefined) throw error;
      console.log(time, error.code);
    }
  }
`;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'failpoint-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

function start(orders: string | undefined) {
  const { CR_FP: _, ...env } = process.env;
  return spawn(process.execPath, ['--input-type=module', '-e', program], {
    env: { ...env, CR_FP_HITS: join(dir, 'hits'), ...(orders !== undefined && { CR_FP: orders }) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function run(orders: string | undefined) {
  const child = start(orders);
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].on('data', (chunk: Buffer) => {
      said[stream] += chunk.toString();
    });
  const [code, signal] = await once(child, 'close');
  return { code, signal, ...said };
}

describe('a failpoint', () => {
  it('does nothing that it was not told, and is noted once', async () => {
    expect(await run(undefined)).toMatchObject({ code: 0, stdout: '1 undefined\n2 undefined\n' });
    expect(readFileSync(join(dir, 'hits'), 'utf8')).toBe('key.before\n');
  });

  it('leaves out what follows, every time or the n-th', async () => {
    expect((await run('key.before:drop')).stdout).toBe('1 true\n2 true\n');
    expect((await run('key.after:drop,key.before:drop:2')).stdout).toBe('1 undefined\n2 true\n');
  });

  it('throws with the code of a system error', async () => {
    expect((await run('key.before:throw=ENOSPC:1')).stdout).toBe('1 ENOSPC\n2 undefined\n');
  });

  it('kills its process, at once', async () => {
    expect(await run('key.before:exit9:2')).toMatchObject({ signal: 'SIGKILL', stdout: '1 undefined\n' });
  });

  it('holds its process up', async () => {
    const began = performance.now();
    await run('key.before:sleep=150');
    expect(performance.now() - began).toBeGreaterThan(300);
  });

  it('stops its process until somebody continues it', async () => {
    const child = start('key.before:stop:1');
    const closed = once(child, 'close');
    const state = () => /\) (.)/.exec(readFileSync(`/proc/${child.pid}/stat`, 'latin1'))?.[1];
    while (state() !== 'T') await new Promise((resolve) => setTimeout(resolve, 10));
    child.kill('SIGCONT');
    expect((await closed)[0]).toBe(0);
  });

  it.each(['key.befor:drop', 'key.before:explode', 'key.before:drop:0', 'key.before'])(
    'refuses %s: a test that does nothing would pass',
    async (orders) => {
      const { code, stderr } = await run(orders);
      expect(code).toBe(1);
      expect(stderr).toContain('is no failpoint');
    },
  );
});
