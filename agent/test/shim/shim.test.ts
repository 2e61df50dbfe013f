import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inheritedDescriptors } from '@codex-remote/platform';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ShimLab, shells } from '../support/shim-lab.ts';
import { waitFor } from '../support/wait-for.ts';

describe.each(shells)('the shim under %s', (shell) => {
  let lab: ShimLab;
  beforeAll(() => {
    lab = new ShimLab(shell);
  });
  afterAll(() => lab.close());
  const sh = (script: string, ...args: string[]) => ['/bin/sh', '-c', script, 'sh', ...args];

  it.each([0, 1, 2, 75, 126, 127, 128, 255])('records exit %d', async (code) => {
    const job = await lab.run(sh(`exit ${code}`));
    expect([job.record().exitCode, job.read('shim')]).toEqual([code, '']);
  });

  it.each([
    ['KILL', 137],
    ['TERM', 143],
    ['SEGV', 139],
  ])('says in the file shim that SIG%s ended it', async (signal, code) => {
    const job = await lab.run(sh(`kill -${signal} $$`));
    expect(job.record().exitCode).toBe(code);
    expect(job.read('shim')).not.toBe('');
  });

  it('says nothing there for a plain exit 137 [row 24]', async () => {
    const job = await lab.run(sh('exit 137'));
    expect([job.record().exitCode, job.read('shim')]).toEqual([137, '']);
  });

  it('survives a job that kills its whole group', async () => {
    const job = await lab.run(sh('echo before; kill -9 0; echo after'));
    expect([job.record().exitCode, job.read('stdout')]).toEqual([137, 'before\n']);
  });

  it('keeps streams apart and bytes exact, also through /dev/stderr and tee [row 41]', async () => {
    const job = await lab.run(
      sh(
        'printf "a\\000\\377"; echo one >&2; echo two >/dev/stderr; echo three | tee /dev/stderr; echo b >/dev/stdout',
      ),
    );
    expect(job.read('stdout')).toBe('a\0\xffthree\nb\n');
    expect(job.read('stderr')).toBe('one\ntwo\nthree\n');
  });

  it('merges both streams in the order written', async () => {
    const job = await lab.run(sh('echo 1; echo 2 >&2; echo 3; echo 4 >/dev/stderr'), { merge: true });
    expect([job.read('stdout'), job.read('stderr')]).toEqual(['1\n2\n3\n4\n', '']);
  });

  it('never runs the job when the gate closes', async () => {
    const marker = join(lab.dir, 'ran');
    for (const spare of [false, true]) {
      const job = await lab.gated(['/usr/bin/touch', marker], { spare });
      job.shim.abort();
      await job.shim.exited;
      expect(job.record()).toMatchObject({ aborted: true });
      expect(job.record().exitCode).toBeUndefined();
      expect(existsSync(marker)).toBe(false);
    }
  });

  it('is deaf at the gate, and its group is while the job runs', async () => {
    const job = await lab.gated(sh('trap "exit 5" TERM; echo ready; while :; do sleep 0.01; done'));
    await waitFor('the inner shell in its session', () => {
      const ours = new Set(lab.table.sessionMembers(job.shim.pid).map((stat) => stat.pid));
      return lab.table.all().some((stat) => ours.has(stat.parent) && stat.session === stat.pid);
    });
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const)
      process.kill(-job.shim.pid, signal);
    job.start();
    await waitFor('output', () => job.read('stdout') === 'ready\n');
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const)
      process.kill(-job.shim.pid, signal);
    process.kill(-(await job.jobPid()), 'SIGTERM');
    expect(await job.exit()).toBe(5);
  });

  it.each([
    ['given at the spawn', false],
    ['told to a spare', true],
  ])('gives the job exactly its own things (%s)', async (_how, spare) => {
    const show =
      'grep -E "^Sig(Ign|Blk)" /proc/self/status; (cd /proc/self/fd && echo *); ps -o sid= -p $$; echo $$; umask; env';
    const job = await lab.run(['/bin/sh', '-c', `${show}; cat /proc/self/oom_score_adj`], {
      spare,
      cwd: '/usr',
    });
    const lines = job
      .read('stdout')
      .split('\n')
      .map((line) => line.trim());
    expect(lines.slice(0, 2)).toEqual(['SigBlk:\t0000000000000000', 'SigIgn:\t0000000000000000']);
    // 3 is the shell's own while it expands the star.
    const ours = lines[2]
      ?.split(' ')
      .filter((fd) => fd !== '3' && !inheritedDescriptors().includes(Number(fd)));
    expect(ours).toEqual(['0', '1', '2']);
    const pid = String(job.record().job?.pid);
    expect(lines.slice(3, 6)).toEqual([pid, pid, '0022']);
    expect(lines).toContain('CODEX_REMOTE_EXEC_ID=lab');
    expect(lines).toContain(`CODEX_REMOTE_EXEC_MARK=${lab.mark}`);
    expect(lines.filter((line) => /^(_cr_|OLDPWD)/.test(line))).toEqual([]);
    expect(lines.at(-2)).toBe('500');
  });

  it.each([
    ['given at the spawn', false],
    ['told to a spare', true],
  ])('passes arguments byte for byte (%s)', async (_how, spare) => {
    const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join('');
    const args = [
      printable,
      '',
      ' ',
      '-n',
      '*',
      '$(id)',
      'a\nb\n\nc\n',
      '\n',
      "it's",
      '\\',
      '\\n',
      '\t',
      'go',
      'take',
      '3',
    ];
    const job = await lab.run(['/usr/bin/printf', '<%s>', ...args], { spare });
    expect(job.read('stdout')).toBe(args.map((arg) => `<${arg}>`).join(''));
  });

  it('passes other bytes and long arguments at the spawn', async () => {
    const args = ['Á\u0081é\u{1f600}', 'x'.repeat(100_000)];
    const job = await lab.run(['/usr/bin/printf', '<%s>', ...args]);
    expect(Buffer.from(job.read('stdout'), 'latin1').toString()).toBe(args.map((arg) => `<${arg}>`).join(''));
  });

  it('works with an empty PATH and odd variables', async () => {
    const env = { PATH: '', ENV: '/nonexistent', IFS: 'o', cat: 'x', POSIXLY_CORRECT: '1', PS4: '$(exit 3)' };
    const job = await lab.run(['/usr/bin/env'], { env });
    expect([job.record().exitCode, job.read('shim'), job.read('stderr')]).toEqual([0, '', '']);
    expect(job.read('stdout').split('\n')).toContain('cat=x');
  });

  it('reads the stdin it was given', async () => {
    const input = join(lab.dir, 'input');
    writeFileSync(input, 'from the spool');
    const job = await lab.run(['/bin/cat'], { stdin: input });
    expect(job.read('stdout')).toBe('from the spool');
  });

  it('records nocwd when the directory has gone [row 22]', async () => {
    const job = await lab.run(['/bin/echo', 'ran'], { cwd: join(lab.dir, 'missing') });
    expect(job.record()).toMatchObject({ noCwd: true });
    expect([job.record().exitCode, job.read('stdout')]).toEqual([undefined, '']);
  });

  it('is unaffected when the directory goes during the run [row 22]', async () => {
    const cwd = join(lab.dir, 'goes');
    mkdirSync(cwd);
    const job = await lab.gated(
      sh('echo here; read -r line </dev/null; while [ -e "$1" ]; do sleep 0.01; done; exit 6', cwd),
      { cwd },
    );
    job.start();
    await waitFor('output', () => job.read('stdout') === 'here\n');
    rmdirSync(cwd);
    expect(await job.exit()).toBe(6);
  });

  it('records the exit at once while a background child holds the pipes, and keeps its later output', async () => {
    const job = await lab.gated(sh('(read -r line <"$1"; echo late) & echo early; exit 3', fifo('hold')));
    job.start();
    expect(await job.exit()).toBe(3);
    expect(job.record().eof.size).toBe(0);
    writeFileSync(join(lab.dir, 'hold'), 'go on\n');
    await job.drained();
    expect(job.read('stdout')).toBe('early\nlate\n');
  });

  it('starts what has no interpreter line as sh does, and says 127 for what is not there', async () => {
    const script = join(lab.dir, 'plain');
    writeFileSync(script, 'echo plain; exit 4\n', { mode: 0o755 });
    expect((await lab.run([script])).record().exitCode).toBe(4);
    const job = await lab.run([join(lab.dir, 'nothing')]);
    expect(job.record().exitCode).toBe(127);
    expect(job.read('stderr')).toContain('nothing');
  });

  it('pumps on after a cat was killed', async () => {
    const job = await lab.gated(sh('echo one; read -r line <"$1"; echo two; echo three >&2', fifo('pumped')));
    job.start();
    await waitFor('output', () => job.read('stdout') === 'one\n');
    const cats = lab.table.sessionMembers(job.shim.pid).filter((stat) => {
      return readFileSync(`/proc/${stat.pid}/comm`, 'utf8') === 'cat\n';
    });
    expect(cats.length).toBe(2);
    for (const cat of cats) process.kill(cat.pid, 'SIGKILL');
    // A cat that is about to die can still take bytes with it.
    await waitFor('the cats to be gone', () => !cats.some((cat) => lab.table.isAlive(cat)));
    writeFileSync(join(lab.dir, 'pumped'), 'go on\n');
    expect(await job.exit()).toBe(0);
    await job.drained();
    expect([job.read('stdout'), job.read('stderr')]).toEqual(['one\ntwo\n', 'three\n']);
    expect([...job.record().torn].sort()).toEqual(['stderr', 'stdout']);
    expect(statSync(join(job.folder, 'probe.stdout')).size).toBe(0);
  });

  function fifo(name: string): string {
    const path = join(lab.dir, name);
    writeFifo(path);
    return path;
  }
});

function writeFifo(path: string): void {
  execFileSync('mkfifo', [path]);
}
