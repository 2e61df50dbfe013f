import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { captureLogin, parseDump } from '../../src/environment/capture.ts';
import { EnvironmentSource } from '../../src/environment/source.ts';

let home = '';
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'login-'));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const tools = { sh: '/bin/sh', cat: '/bin/cat' };
const options = (shell: string, timeoutMs?: number) => ({
  user: { name: 'tester', home, shell },
  clock: systemClock,
  dir: home,
  tools,
  ...(timeoutMs !== undefined && { timeoutMs }),
});

/** A "shell" of a few lines. */
function fakeShell(script: string): string {
  const path = join(home, 'shell');
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

describe('captureLogin', () => {
  it('has what noisy rc files of bash set, functions and odd values too, and nothing of ours', async () => {
    writeFileSync(
      join(home, '.bash_profile'),
      'echo noise; echo more >&2; cat; read -r x; . ~/.bashrc; export MULTI="a\nb=c" PATH="$HOME/bin:$PATH"; umask 027\n',
    );
    writeFileSync(
      join(home, '.bashrc'),
      'case $- in *i*) ;; *) return;; esac\nexport FROM_RC=1; f() { echo f; }; export -f f\n',
    );
    const captured = await captureLogin(options('/bin/bash'));
    expect(captured?.umask).toBe(0o027);
    expect(captured?.env).toMatchObject({
      FROM_RC: '1',
      MULTI: 'a\nb=c',
      HOME: home,
      PATH: expect.stringContaining(`${home}/bin:`),
    });
    expect(Object.keys(captured?.env ?? {}).some((name) => name.startsWith('BASH_FUNC_f'))).toBe(true);
    expect(Object.keys(captured?.env ?? {}).filter((name) => name.startsWith('CODEX_REMOTE_'))).toEqual([]);
    expect(readdirSync(home).filter((name) => name.startsWith('environment-'))).toEqual([]);
  });

  it('begins with the usual umask, not with that of the agent', async () => {
    const before = process.umask(0o077);
    try {
      expect((await captureLogin(options('/bin/bash')))?.umask).toBe(0o022);
    } finally {
      process.umask(before);
    }
  });

  it('works for a plain sh', async () => {
    expect((await captureLogin(options('/bin/dash')))?.env.HOME).toBe(home);
  });

  it('asks without -l a shell that takes it only alone, as tcsh does', async () => {
    const shell = fakeShell('[ "$1" = -ic ] || exit 1; FROM=fake; export FROM; exec sh -c "$2"');
    expect((await captureLogin(options(shell)))?.env.FROM).toBe('fake');
  });

  it('gives up in time and kills what hangs', async () => {
    const before = performance.now();
    const shell = fakeShell('sleep 60');
    expect(await captureLogin(options(shell, 300))).toBeUndefined();
    expect(performance.now() - before).toBeLessThan(5_000);
  });

  it.each([
    ['that refuses', () => fakeShell('exit 1')],
    ['that prints instead of running', () => fakeShell('env')],
    ['that is not there', () => '/no/such/shell'],
  ])('has no answer from a shell %s', async (_what, shell) => {
    expect(await captureLogin(options(shell()))).toBeUndefined();
  });
});

it.each([
  ['nothing', ''],
  ['no umask', 'PATH=/bin\0'],
  ['a cut end', '0022\nPATH=/bin\0HOME=/ro'],
  ['no PATH', '0022\nHOME=/root\0'],
])('a dump with %s is none', (_what, text) => {
  expect(parseDump(Buffer.from(text))).toBeUndefined();
});

describe('EnvironmentSource', () => {
  it('falls back to a plain environment with a warning', async () => {
    const source = new EnvironmentSource(options('/no/such/shell'));
    const environment = await source.current();
    expect(environment).toMatchObject({
      kind: 'plain',
      umask: 0o022,
      warnings: ['environment_plain'],
      env: { HOME: home },
    });
    expect(source.kind).toBe('plain');
  });

  it('captures once, and anew on demand', async () => {
    writeFileSync(join(home, '.profile'), 'export WHAT=one\n');
    const source = new EnvironmentSource(options('/bin/bash'));
    const [first, same] = await Promise.all([source.current(), source.current()]);
    expect(first).toBe(same);
    expect([first.env.WHAT, first.kind]).toEqual(['one', 'login']);
    writeFileSync(join(home, '.profile'), 'export WHAT=two\n');
    expect((await source.current()).env.WHAT).toBe('one');
    expect((await source.refresh()).env.WHAT).toBe('two');
    expect((await source.current()).env.WHAT).toBe('two');
  });
});
