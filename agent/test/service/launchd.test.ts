import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LaunchdAgent } from '../../src/service/launchd.ts';
import { plistText } from '../../src/service/plist.ts';
import type { ServiceFacts } from '../../src/service/unit.ts';
import { StubPrograms } from '../support/stub-programs.ts';

const name = 'codex-remote-agent-0123456789ab';
let stubs: StubPrograms;
let file: string;
let facts: ServiceFacts;
beforeEach(() => {
  stubs = new StubPrograms();
  file = join(stubs.dir, 'Library/LaunchAgents', `${name}.plist`);
  facts = { machine: 'mac', name, home: '/h', log: '/h/agent.log', argv: ['/h/node', '/h/agent.mjs'] };
});
afterEach(() => stubs.close());

describe('an agent under launchd', () => {
  test('is loaded in place of one that may be loaded, in either domain, and goes without a trace', async () => {
    stubs.add('launchctl', '[ "$1" != bootout ] || exit 3');
    const host = stubs.host({ platform: 'darwin' });
    const agent = new LaunchdAgent(host, name);
    await agent.start(facts, `gui/${host.uid}`);
    expect(readFileSync(file, 'utf8')).toBe(plistText(facts));
    await agent.remove();
    expect(existsSync(file)).toBe(false);
    const out = [`launchctl bootout gui/${host.uid}/${name}`, `launchctl bootout user/${host.uid}/${name}`];
    expect(stubs.calls()).toEqual([...out, `launchctl bootstrap gui/${host.uid} ${file}`, ...out]);
  });

  test('that launchd refuses is agent_start_failed with what it said', async () => {
    stubs.add('launchctl', '[ "$1" != bootstrap ] || { echo "Bootstrap failed: 5" >&2; exit 5; }');
    const agent = new LaunchdAgent(stubs.host({ platform: 'darwin' }), name);
    await expect(agent.start(facts, 'gui/501')).rejects.toMatchObject({
      code: 'agent_start_failed',
      details: { facts: { remote_stderr: expect.stringContaining('Bootstrap failed: 5') } },
    });
  });

  test('leaves a plist of that name alone that is not ours', async () => {
    stubs.add('launchctl', '');
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, '<plist/>');
    const agent = new LaunchdAgent(stubs.host({ platform: 'darwin' }), name);
    await expect(agent.start(facts, 'gui/501')).rejects.toMatchObject({ code: 'agent_start_failed' });
    await agent.remove();
    expect(readFileSync(file, 'utf8')).toBe('<plist/>');
    expect(stubs.calls()).toEqual([]);
  });
});
