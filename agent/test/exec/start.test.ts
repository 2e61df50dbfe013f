import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { finished, StoreLab } from '../support/store-lab.ts';

let lab: StoreLab;
beforeEach(() => {
  lab = new StoreLab();
});
afterEach(() => lab.close());

describe('what ran', () => {
  it.each([0, 1, 126, 127, 137, 255])('exit %d is an exit', async (code) => {
    expect(await lab.run(`exit ${code}`)).toMatchObject({ reason: 'exited', exit_code: code });
    expect((await lab.run(`exit ${code}`)).signal).toBeUndefined();
  });

  it.each([
    ['KILL', 137],
    ['TERM', 143],
    ['SEGV', 139],
  ])('death by SIG%s is told from an exit [row 24]', async (signal, code) => {
    expect(await lab.run(`kill -${signal} $$`)).toMatchObject({
      reason: 'signaled',
      exit_code: code,
      signal: `SIG${signal}`,
    });
  });

  it('kill -9 0 is the end of the job and of nothing else [row 24]', async () => {
    expect(await lab.run('echo a; kill -9 0')).toMatchObject({
      exit_code: 137,
      signal: 'SIGKILL',
      stdout_bytes: 2,
    });
  });

  it('is running with its pid meanwhile, and tells when output was written', async () => {
    const { state } = await lab.start('echo ready; exec sleep 60');
    const id = state.exec_id;
    await expect
      .poll(() => lab.store.get(id))
      .toMatchObject({ status: 'running', stdout_bytes: 6, last_output_at: expect.any(String) });
    const running = lab.store.get(id);
    expect(running.status === 'running' && lab.table.stat(running.pid ?? 0)?.session).toBe(
      running.status === 'running' && running.pid,
    );
    expect(lab.store.runningIds()).toEqual([id]);
    expect(await lab.store.cancel(id, 'KILL', 0)).toMatchObject({
      already_finished: false,
      leftover_pids: [],
    });
  });

  it('is finished while a background child holds the pipe, and its later output is kept [row 19]', async () => {
    const go = join(lab.home, 'go');
    const state = await lab.run(`(while [ ! -e ${go} ]; do sleep 0.02; done; echo late) & echo early`);
    expect(state).toMatchObject({ exit_code: 0, writers_remaining: true });
    writeFileSync(go, '');
    await expect.poll(() => lab.read(state.exec_id)).toBe('early\nlate\n');
    expect(lab.store.get(state.exec_id).stdout_bytes).toBe(11);
  });

  it('leaves only private files', async () => {
    const { exec_id } = await lab.run('echo x', { env: { SECRET: 'canary-value' } });
    const folder = join(lab.home, 'execs', exec_id);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(folder)) {
      expect([name, statSync(join(folder, name)).mode & 0o777]).toEqual([name, 0o600]);
      expect(lab.read(exec_id, name)).not.toContain('canary-value');
    }
    expect(lab.read(exec_id, 'journal')).toContain('SECRET');
  });
});

describe('what it runs with', () => {
  it('has the quiet defaults, its id, and --env over all', async () => {
    const { exec_id } = await lab.run('env', { env: { PAGER: 'less', MINE: "it's\n$x", OPT: 'ß' } });
    const lines = Buffer.from(lab.read(exec_id), 'latin1').toString().split('\n');
    for (const line of [
      'TERM=dumb',
      'NO_COLOR=1',
      'PAGER=less',
      "MINE=it's",
      '$x',
      'OPT=ß',
      `CODEX_REMOTE_EXEC_ID=${exec_id}`,
    ]) {
      expect(lines).toContain(line);
    }
  });

  it('reads its stdin from the spool, which is gone by then; otherwise stdin is empty', async () => {
    const stdin = await lab.spool('typed\n');
    const spec = lab.spec({ command: { kind: 'cmd', cmd: 'cat; read -r x || echo end' }, stdin: true });
    await lab.store.start({ spec, stdin });
    expect(existsSync(stdin.path)).toBe(false);
    expect(finished(await lab.store.ended(spec.exec_id)).exit_code).toBe(0);
    expect(lab.read(spec.exec_id)).toBe('typed\nend\n');
    expect(lab.read((await lab.run('cat; echo end')).exec_id)).toBe('end\n');
  });

  it.each([
    ['#!/bin/sh -e\nfalse\necho never\n', 1, ''],
    ['echo "$BASH_VERSION" | grep -c .\n', 0, '1\n'],
    ['', 0, ''],
  ])('runs a script by its first line, else by bash: %j', async (text, code, output) => {
    const script = await lab.spool(text);
    const spec = lab.spec({ command: { kind: 'script' } });
    await lab.store.start({ spec, script });
    expect(finished(await lab.store.ended(spec.exec_id)).exit_code).toBe(code);
    expect(lab.read(spec.exec_id)).toBe(output);
    expect(existsSync(join(lab.home, 'execs', spec.exec_id, 'script'))).toBe(false);
  });

  it('runs a script of a megabyte', async () => {
    const script = await lab.spool(`${'echo line\n'.repeat(100_000)}exit 9\n`);
    const spec = lab.spec({ command: { kind: 'script' } });
    await lab.store.start({ spec, script });
    expect(finished(await lab.store.ended(spec.exec_id))).toMatchObject({
      exit_code: 9,
      stdout_bytes: 500_000,
    });
  });

  it('passes every printable byte and more in an argument vector [row 92]', async () => {
    const argv = [
      'printf',
      '<%s>',
      Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join(''),
      'é\n',
      '',
    ];
    const spec = lab.spec({ command: { kind: 'argv', argv } });
    await lab.store.start({ spec });
    await lab.store.ended(spec.exec_id);
    const output = Buffer.from(lab.read(spec.exec_id), 'latin1').toString();
    expect(output).toBe(
      argv
        .slice(2)
        .map((arg) => `<${arg}>`)
        .join(''),
    );
  });

  it('has a directory of its own choice, ~ being the home', async () => {
    mkdirSync(join(lab.home, 'sub'));
    for (const [cwd, expected] of [
      [undefined, lab.home],
      ['~/sub', join(lab.home, 'sub')],
      ['/usr', '/usr'],
    ] as const) {
      const { exec_id } = await lab.run('pwd; echo "$PWD"', cwd === undefined ? {} : { cwd });
      expect(lab.read(exec_id)).toBe(`${expected}\n${expected}\n`);
    }
  });

  it('merges streams when asked', async () => {
    const { exec_id } = await lab.run('echo 1; echo 2 >&2; echo 3', { merge: true });
    expect([lab.read(exec_id), lab.read(exec_id, 'stderr')]).toEqual(['1\n2\n3\n', '']);
  });
});

describe('what cannot start', () => {
  const argv = (...words: string[]) => ({ command: { kind: 'argv' as const, argv: words } });
  it.each([
    ['a missing program', argv('no-such-program'), 127, /not found on PATH/],
    ['a missing path', argv('/no/such'), 127, /no such file/],
    ['an empty name', argv(''), 127, /''/],
    ['a directory', argv('/usr'), 126, /is a directory/],
    [
      'an unknown shell',
      { command: { kind: 'cmd' as const, cmd: 'true', shell: 'no-such-shell' } },
      127,
      /shell no-such-shell/,
    ],
    ['a missing cwd', { cwd: '/no/such/dir' }, 126, /no such directory/],
    ['a cwd that is a file', { cwd: '/etc/passwd' }, 126, /not a directory/],
  ])('%s is failed_to_start [row 21] [row 22]', async (_what, spec, code, why) => {
    const state = await lab.run('true', spec);
    expect(state).toMatchObject({
      reason: 'failed_to_start',
      exit_code: code,
      spawn_error: expect.stringMatching(why),
    });
    lab.reopen();
    expect(lab.store.get(state.exec_id)).toEqual(state);
  });

  it('a file without the right to run is 126 [row 21]', async () => {
    const path = join(lab.home, 'plain');
    writeFileSync(path, 'echo x');
    chmodSync(path, 0o644);
    expect(await lab.run('', argv(path))).toMatchObject({ reason: 'failed_to_start', exit_code: 126 });
  });

  it('a script with a missing interpreter is 127 [row 21]', async () => {
    const script = await lab.spool('#!/no/such/interpreter\n');
    const spec = lab.spec({ command: { kind: 'script' } });
    await lab.store.start({ spec, script });
    expect(finished(await lab.store.ended(spec.exec_id))).toMatchObject({
      reason: 'failed_to_start',
      exit_code: 127,
    });
  });

  it.each([
    ['one long argument', argv('echo', 'x'.repeat(140_000))],
    ['many arguments', argv('echo', ...Array<string>(40_000).fill('y'.repeat(200)))],
    ['one long variable', { env: { LONG: 'z'.repeat(140_000) } }],
  ])('%s is refused before acceptance', async (_what, spec) => {
    await expect(lab.start('true', spec)).rejects.toMatchObject({ code: 'args_too_long' });
    expect(readdirSync(join(lab.home, 'execs'))).toEqual([]);
  });

  it('a disk below the reserve refuses', async () => {
    lab.reopen({ diskReserveBytes: Number.MAX_SAFE_INTEGER });
    await expect(lab.start('true')).rejects.toMatchObject({ code: 'disk_low' });
    expect(readdirSync(join(lab.home, 'execs'))).toEqual([]);
  });
});

describe('the same id', () => {
  it('attaches with the same request, also at once and after the end; another request is a conflict [row 53] [row 54]', async () => {
    const counter = join(lab.home, 'runs');
    const spec = lab.spec({
      command: { kind: 'cmd', cmd: `echo run >>${counter}` },
      env: { A: '1', B: '2' },
    });
    const both = await Promise.all([lab.store.start({ spec }), lab.store.start({ spec })]);
    expect(both.map((result) => result.attached)).toEqual([false, true]);
    await lab.store.ended(spec.exec_id);
    const relabelled = { ...spec, env: { B: '2', A: '1' }, label: 'other', timeout_ms: 5, merge: true };
    expect(await lab.store.start({ spec: relabelled })).toMatchObject({
      attached: true,
      state: { exit_code: 0 },
    });
    lab.reopen();
    expect(await lab.store.start({ spec })).toMatchObject({ attached: true, state: { exit_code: 0 } });
    for (const other of [
      { cwd: '/' },
      { env: { A: '1' } },
      { command: { kind: 'cmd' as const, cmd: 'false' } },
    ]) {
      await expect(lab.store.start({ spec: { ...spec, ...other } })).rejects.toMatchObject({
        code: 'conflict',
      });
    }
    expect(lab.read('..', 'runs').split('\n')).toEqual(['run', '']);
  });

  it('compares script and stdin by their bytes', async () => {
    const spec = lab.spec({ command: { kind: 'script' }, stdin: true });
    const request = async (script: string, stdin: string) => ({
      spec,
      script: await lab.spool(script),
      stdin: await lab.spool(stdin),
    });
    await lab.store.start(await request('cat', 'one'));
    expect(await lab.store.start(await request('cat', 'one'))).toMatchObject({ attached: true });
    await expect(lab.store.start(await request('cat', 'two'))).rejects.toMatchObject({ code: 'conflict' });
    await expect(lab.store.start(await request('cat ', 'one'))).rejects.toMatchObject({ code: 'conflict' });
    await lab.store.ended(spec.exec_id);
  });
});

it('starts 200 at once, each exact', async () => {
  const ids = await Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      const { state } = await lab.start(`echo ${i}; exit ${i % 7}`);
      return state.exec_id;
    }),
  );
  for (const [i, id] of ids.entries()) {
    expect(finished(await lab.store.ended(id)).exit_code).toBe(i % 7);
    expect(lab.read(id)).toBe(`${i}\n`);
  }
}, 60_000);
