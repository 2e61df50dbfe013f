import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ProcessTable } from '@codex-remote/platform';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { largeBlocks, youngGeneration } from '../../src/service/memory.ts';
import { waitFor } from '../support/wait-for.ts';

const keeper = join(import.meta.dirname, '../../src/service/keeper.sh');
const shells = { dash: ['dash'], bash: ['bash'], 'busybox ash': ['busybox', 'ash'] } as const;

/** In place of Node and the agent: notes its start, then does what the file `do` says. */
const standIn = `#!/bin/sh
home=$5
echo "$$ $*" >>"$home/starts"
[ "$(cat "$home/do")" != crash ] || exit 9
trap 'exit 0' TERM
[ -e /proc/$$/fd/3 ] && echo >&3 && exec 3>&-
while [ ! -e "$home/end" ]; do sleep 0.02; done
exit 0
`;

describe.each(Object.keys(shells) as (keyof typeof shells)[])('a keeper under %s', (shell) => {
  let home: string;
  const children: ChildProcess[] = [];
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'keeper-'));
    writeFileSync(join(home, 'node'), standIn);
    chmodSync(join(home, 'node'), 0o755);
    writeFileSync(join(home, 'agent.mjs'), '');
  });
  afterEach(async () => {
    for (const child of children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
    rmSync(home, { recursive: true, force: true });
  });

  /** `pipe`: of a starter that waits; cron has none. */
  function start(what: 'serve' | 'crash', pipe: 'pipe' | 'none' = 'pipe'): ChildProcess {
    writeFileSync(join(home, 'do'), what);
    const [program, ...args] = shells[shell];
    const child = spawn(program, [...args, keeper, join(home, 'node'), join(home, 'agent.mjs'), home], {
      detached: true,
      stdio: ['ignore', 'ignore', 'ignore', ...(pipe === 'pipe' ? (['pipe'] as const) : [])],
    });
    children.push(child);
    return child;
  }

  /** Pid and arguments of every agent that was started. */
  const starts = (): { pid: number; args: string }[] => {
    if (!existsSync(join(home, 'starts'))) return [];
    return readFileSync(join(home, 'starts'), 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => ({ pid: Number.parseInt(line, 10), args: line.replace(/^\d+ /, '') }));
  };
  const started = (count: number) => waitFor(`${count} starts`, () => starts().length >= count && starts());
  const isGone = (pid: number | undefined) =>
    waitFor(`the end of ${pid}`, () => new ProcessTable().stat(pid ?? 0) === undefined);

  test('appoints itself, runs the agent, and gives it alone the pipe of the starter', async () => {
    const child = start('serve');
    const pipe = child.stdio[3] as NodeJS.ReadableStream;
    let closed = false;
    pipe.on('close', () => {
      closed = true;
    });
    pipe.resume();
    const [first] = await started(1);
    expect(first?.args).toBe(
      `${youngGeneration} ${home}/agent.mjs daemon --home ${home} --service detached --keeper ${child.pid} --ready-fd 3`,
    );
    const environment = readFileSync(`/proc/${first?.pid}/environ`, 'utf8').split('\0');
    expect(environment).toContain(`${largeBlocks.name}=${largeBlocks.value}`);
    expect(readFileSync(join(home, 'keeper'), 'utf8')).toBe(`${child.pid}\n`);
    await waitFor('the pipe to be closed by the agent', () => closed);
  });

  test('runs the agent without a pipe where nobody waits, as under cron', async () => {
    start('serve', 'none');
    const [first] = await started(1);
    expect(first?.args).not.toContain('--ready-fd');
  });

  test('runs it again after a crash, without the pipe, and later each time', async () => {
    start('crash');
    const began = performance.now();
    const [, second] = await started(3);
    expect(second?.args).not.toContain('--ready-fd');
    expect(performance.now() - began).toBeGreaterThan(2_500);
  });

  test('runs it again when it was killed', async () => {
    start('serve');
    const [first] = await started(1);
    process.kill(first?.pid ?? 0, 'SIGKILL');
    const [, second] = await started(2);
    expect(second?.pid).not.toBe(first?.pid);
  });

  test('ends with an agent that ends by itself', async () => {
    const child = start('serve');
    await started(1);
    writeFileSync(join(home, 'end'), '');
    await once(child, 'exit');
    expect(starts()).toHaveLength(1);
  });

  test('does not start another once it is not the one that is appointed', async () => {
    const child = start('serve');
    const [first] = await started(1);
    writeFileSync(join(home, 'keeper'), '1\n');
    process.kill(first?.pid ?? 0, 'SIGKILL');
    await once(child, 'exit');
    expect(starts()).toHaveLength(1);
  });

  test('does not start another when the file is gone, also in its pause', async () => {
    const child = start('crash');
    await started(1);
    rmSync(join(home, 'keeper'));
    await once(child, 'exit');
    expect(starts()).toHaveLength(1);
  });

  test('ends its agent when it is told to end, and its pause too', async () => {
    const child = start('serve');
    const [first] = await started(1);
    child.kill('SIGTERM');
    await once(child, 'exit');
    await isGone(first?.pid);
  });

  test('ends when what it runs was removed', async () => {
    const child = start('crash');
    await started(1);
    rmSync(join(home, 'agent.mjs'));
    const [status] = await once(child, 'exit');
    expect(status === 1 || starts().length > 1).toBe(true);
  });
});
