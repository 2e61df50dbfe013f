import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { needs } from '@codex-remote/test/lab';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ServiceFacts, unitText } from '../../src/service/unit.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'unit-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Facts whose paths lie in a folder of this name, with a program there that prints its arguments. */
function factsIn(folder: string, program = 'node'): ServiceFacts {
  const home = join(dir, folder);
  mkdirSync(home, { recursive: true });
  const path = join(home, program);
  writeFileSync(path, '#!/bin/sh\nprintf "%s\\n" "$@"\n');
  chmodSync(path, 0o755);
  return {
    machine: 'box',
    name: 'codex-remote-agent-0123456789ab',
    home,
    log: join(home, 'agent.log'),
    machineId: '0123456789abcdef0123456789abcdef',
    argv: [path, '--max-semi-space-size=1', join(home, 'agent.mjs'), 'daemon', '--home', home],
  };
}

/** What `systemd-analyze verify` has to say: nothing, when a unit is right. */
function complaints(text: string): string {
  const file = join(dir, 'codex-remote-agent-0123456789ab.service');
  writeFileSync(file, text);
  const { stdout, stderr } = spawnSync('systemd-analyze', ['--user', 'verify', file], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, HOME: dir, XDG_RUNTIME_DIR: dir },
  });
  return stdout + stderr;
}

describe('the systemd unit of an agent', () => {
  test('leaves the jobs alone, in whatever way the agent ends', () => {
    const lines = unitText(factsIn('home')).split('\n');
    expect(lines).toEqual(
      expect.arrayContaining([
        'KillMode=process',
        'Restart=on-failure',
        'Environment=MALLOC_MMAP_THRESHOLD_=262144',
        'OOMPolicy=continue',
        'WantedBy=default.target',
      ]),
    );
  });

  test.for([
    'plain',
    'with space',
    'a%h%%b',
    'a$HOME$$b',
    "it's",
    'say "hi"',
    'back\\slash',
    'ünï',
    '#hash;semi',
  ])('for a home named %j is taken by systemd-analyze without a word', (folder, context) => {
    needs(context, 'systemd-analyze');
    expect(complaints(unitText(factsIn(folder)))).toBe('');
    expect(complaints(unitText(factsIn('home', folder.replaceAll('/', ''))))).toBe('');
  });

  test('with a setting that systemd does not know is refused by the same check', (context) => {
    needs(context, 'systemd-analyze');
    expect(complaints(unitText(factsIn('home')).replace('KillMode=process', 'KillMode=nobody'))).not.toBe('');
  });

  test('without a machine id has no condition on the host', (context) => {
    const { machineId: _, ...facts } = factsIn('home');
    expect(unitText(facts)).not.toContain('ConditionHost');
    needs(context, 'systemd-analyze');
    expect(complaints(unitText(facts))).toBe('');
  });
});
