import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MachinePolicy } from '@codex-remote/protocol/schema';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { setPolicy } from '../../src/commands/policy.ts';
import { agentHome } from '../../src/home.ts';
import { PolicyFile } from '../../src/policy/policy-file.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'cr-policy-'));
  path = join(dir, 'policy.json');
});
afterEach(() => rmSync(dir, { recursive: true }));

const request = { command: { kind: 'argv' as const, argv: ['touch', 'x'] }, env: {}, stdin: false };
const allowTrue: MachinePolicy = { mode: 'allow', allow: ['true'] };
const thrown = (work: () => void): unknown => {
  try {
    work();
    return undefined;
  } catch (error) {
    return error;
  }
};

describe('the policy that a machine keeps', () => {
  test('is full where there is none, and is narrowed, never widened, by a session', () => {
    const file = new PolicyFile(path);
    expect(file.get()).toEqual({ mode: 'full' });
    file.check(request, 'e');
    expect(file.narrow(allowTrue)).toEqual({ policy: allowTrue, applied: true });
    expect(thrown(() => file.check(request, 'e'))).toMatchObject({
      code: 'policy_refused',
      details: { exec_id: 'e', facts: { rule: 'command', policy: 'allow', refused_by: 'agent' } },
    });
    for (const wider of [
      { mode: 'full' },
      { mode: 'allow', allow: ['true', 'touch ...'] },
    ] as MachinePolicy[])
      expect(file.narrow(wider)).toEqual({ policy: allowTrue, applied: false });
    expect(file.narrow({ mode: 'read-only' })).toMatchObject({ applied: true });
    expect(file.narrow(allowTrue)).toEqual({ policy: { mode: 'read-only' }, applied: false });
    expect(new PolicyFile(path).get()).toEqual({ mode: 'read-only' });
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test('is read again when somebody on the machine has written it', () => {
    const file = new PolicyFile(path);
    file.narrow({ mode: 'read-only' });
    new PolicyFile(path).replace({ mode: 'full' });
    file.check(request, 'e');
    new PolicyFile(path).replace(allowTrue);
    expect(thrown(() => file.check(request, 'e'))).toMatchObject({ code: 'policy_refused' });
  });

  test.each([
    ['empty', ''],
    ['cut', '{"mode":"fu'],
    ['foreign', '{"mode":"everything"}'],
    ['with a pattern that is none', '{"mode":"allow","allow":["*"]}'],
    ['with more than it may have', '{"mode":"full","allow":["true"]}'],
  ])('lets nothing start while its file is %s, until it is written anew', (_what, text) => {
    writeFileSync(path, text);
    const file = new PolicyFile(path);
    expect(thrown(() => file.check(request, 'e'))).toMatchObject({ code: 'state_unusable' });
    expect(thrown(() => file.narrow({ mode: 'full' }))).toMatchObject({ code: 'state_unusable' });
    file.replace({ mode: 'full' });
    file.check(request, 'e');
  });

  test('is not read through a link', () => {
    writeFileSync(join(dir, 'other'), '{"mode":"full"}');
    symlinkSync(join(dir, 'other'), path);
    expect(thrown(() => new PolicyFile(path).get())).toMatchObject({ code: 'state_unusable' });
  });

  test('is shown and set by `agent policy` on the machine', () => {
    const home = agentHome(dir);
    expect(setPolicy(home, '')).toEqual({ policy: { mode: 'full' } });
    expect(setPolicy(home, '{"mode":"read-only"}')).toEqual({ policy: { mode: 'read-only' } });
    expect(setPolicy(home, JSON.stringify(allowTrue))).toEqual({ policy: allowTrue });
    expect(thrown(() => setPolicy(home, '{"mode":"none"}'))).toMatchObject({ code: 'usage' });
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(allowTrue);
  });
});
