import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { joinController, joinText, readInvitationFile } from '../../src/commands/join.ts';
import { thisHost } from '../../src/service/host.ts';

const token = `${'0'.repeat(20)}.${'A'.repeat(43)}`;

describe('an invitation', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'cr-join-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  test('in a file is read where nobody else can read it', () => {
    const path = join(dir, 'invitation');
    writeFileSync(path, 'text', { mode: 0o600 });
    expect(readInvitationFile(path)).toBe('text');
    symlinkSync(path, join(dir, 'link'));
    expect(() => readInvitationFile(join(dir, 'link'))).toThrow(/ELOOP/);
    rmSync(path);
    writeFileSync(path, 'text', { mode: 0o640 });
    expect(() => readInvitationFile(path)).toThrow(
      expect.objectContaining({ code: 'state_unusable', details: { hint: `chmod 600 ${path}` } }),
    );
  });

  const whole = {
    machine: 'gpu',
    controller_id: 'c0ffee00c0ffee00',
    controller_key: 'k'.repeat(43),
    url: 'wss://controller.example/',
    certificates: ['PEM'],
    spki_sha256: ['pin'],
    expires_at: '2026-01-01T00:00:00.000Z',
  };
  const options = { bundle: '/nowhere/agent.mjs', version: '0.0.0', host: thisHost({}) };

  test.each([
    ['nothing', ''],
    ['no token', `\n/base\n${JSON.stringify(whole)}`],
    ['no JSON', `${token}\n/base\n{`],
    ['another base', `${token}\nbase\n${JSON.stringify(whole)}`],
    ['a name that is none', `${token}\n/base\n${JSON.stringify({ ...whole, machine: '../x' })}`],
    ['a plain address', `${token}\n/base\n${JSON.stringify({ ...whole, url: 'ws://controller.example/' })}`],
    ['no certificate', `${token}\n/base\n${JSON.stringify({ ...whole, certificates: [] })}`],
    ['what we do not know', `${token}\n/base\n${JSON.stringify({ ...whole, run: 'sh' })}`],
    ['megabytes', `${token}\n/base\n${JSON.stringify(whole)}${' '.repeat(1024 * 1024)}`],
  ])('with %s is refused without its token being repeated', async (_what, text) => {
    const error = await joinController(text, options).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'usage' });
    expect(JSON.stringify(error) + String((error as Error).cause)).not.toContain('A'.repeat(43));
  });

  test('that brought a machine in is told in words at a terminal', () => {
    const text = joinText({
      machine: 'gpu',
      already_joined: false,
      agent_version: '0.0.0',
      home: '/home',
      warnings: ['a reboot ends the agent'],
    });
    expect(text).toMatch(/^This host is joined as gpu/);
    expect(text).toContain('warning: a reboot ends the agent');
    expect(text).toContain('codex-remote exec run -m gpu');
  });
});
