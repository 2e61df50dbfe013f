import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { rememberVersion, sweepStore } from '../../src/commands/versions.ts';
import { type AgentHome, agentHome } from '../../src/home.ts';

const hour = 60 * 60 * 1000;

describe('the store of a machine', () => {
  let base: string;
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'versions-'));
    mkdirSync(join(base, 'store'));
  });
  afterEach(() => rmSync(base, { recursive: true, force: true }));

  /** Entries that were placed two hours ago. */
  function entries(...names: string[]): void {
    const then = new Date(Date.now() - 2 * hour);
    for (const name of names) {
      mkdirSync(join(base, 'store', name));
      utimesSync(join(base, 'store', name), then, then);
    }
  }

  function home(host: string, controller: string): AgentHome {
    const path = join(base, host, controller);
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, 'config.json'), '{}');
    return agentHome(path);
  }

  const agentOf = (digit: string): string => `agent-${digit.repeat(16)}`;
  const nodeOf = (digit: string): string => `node-${digit.repeat(16)}`;
  const ran = (where: AgentHome, agent: string, node: string): void =>
    rememberVersion(where, {
      node: join(base, 'store', nodeOf(node), 'node'),
      bundle: join(base, 'store', agentOf(agent), 'agent.mjs'),
    });
  const kept = (): string[] => readdirSync(join(base, 'store')).sort();

  test('keeps what runs and what ran before, and starting the same again changes neither', () => {
    entries(agentOf('a'), agentOf('b'), agentOf('c'), nodeOf('1'), nodeOf('2'));
    const only = home('h', 'c1');
    ran(only, 'a', '1');
    ran(only, 'b', '1');
    ran(only, 'c', '2');
    ran(only, 'c', '2');
    expect(sweepStore(only)).toEqual([agentOf('a')]);
    expect(kept()).toEqual([agentOf('b'), agentOf('c'), nodeOf('1'), nodeOf('2')]);
  });

  test('keeps what other homes need, of other hosts and controllers too', () => {
    entries(agentOf('a'), agentOf('b'), agentOf('c'), nodeOf('1'));
    const mine = home('h1', 'c1');
    ran(mine, 'c', '1');
    ran(home('h2', 'c1'), 'a', '1');
    ran(home('h1', 'c2'), 'b', '1');
    expect(sweepStore(mine)).toEqual([]);
  });

  test('keeps everything while a home does not say what it needs', () => {
    entries(agentOf('a'), agentOf('b'));
    const mine = home('h', 'c1');
    ran(mine, 'b', '1');
    home('h', 'c2');
    expect(sweepStore(mine)).toEqual([]);
    expect(kept()).toEqual([agentOf('a'), agentOf('b')]);
  });

  test('keeps what has just come, and what is not ours', () => {
    entries(agentOf('a'), 'agent-mine', '.part-x');
    mkdirSync(join(base, 'store', agentOf('e')));
    const mine = home('h', 'c1');
    ran(mine, 'b', '1');
    expect(sweepStore(mine)).toEqual([agentOf('a')]);
    expect(sweepStore(mine, Date.now() + 2 * hour)).toEqual([agentOf('e')]);
    expect(kept()).toEqual(['.part-x', 'agent-mine']);
  });

  test('of a home that runs a Node of the machine is swept all the same', () => {
    entries(agentOf('a'), agentOf('b'), nodeOf('1'));
    const mine = home('h', 'c1');
    const bundle = (digit: string): string => join(base, 'store', agentOf(digit), 'agent.mjs');
    rememberVersion(mine, { node: '/usr/bin/node', bundle: bundle('b') });
    expect(sweepStore(mine).sort()).toEqual([agentOf('a'), nodeOf('1')]);
    expect(existsSync(join(base, 'store', agentOf('b')))).toBe(true);
  });
});
