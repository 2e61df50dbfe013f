import type { Hello } from '@codex-remote/protocol/schema';
import { beforeEach, describe, expect, test } from 'vitest';
import { FakeClock } from '../../../packages/protocol/test/support/fake-clock.ts';
import type { AuditEntry } from '../../src/audit/entry.ts';
import { RefusedAgents } from '../../src/enrolment/refused-agents.ts';

const hour = 60 * 60 * 1000;

describe('agents that were not let in', () => {
  let clock: FakeClock;
  let entries: AuditEntry[];
  let agents: RefusedAgents;
  beforeEach(() => {
    clock = new FakeClock();
    entries = [];
    agents = new RefusedAgents(clock, (entry) => entries.push(entry));
  });
  const hello = (key = 'k', machine = 'box') =>
    ({ machine, agent_key: key.repeat(43).slice(0, 43) }) as Hello;

  test('are in the audit log: who, from where, as which machine', () => {
    agents.note(hello(), '192.0.2.7', 'unauthorized');
    expect(entries).toEqual([
      {
        principal: expect.stringMatching(/^agent:SHA256:/),
        source: '192.0.2.7',
        verb: 'machine.connect',
        machine: 'box',
        result: 'refused',
        reason: 'unauthorized',
      },
    ]);
  });

  test('of one machine do not hide those of another that comes by a tunnel too', () => {
    for (let i = 0; i < 100; i++)
      agents.note(hello(`${i}`.padStart(4, 'k'), 'bad'), 'tunnel', 'unauthorized', 'tunnel of bad');
    agents.note(hello(), 'tunnel', 'unauthorized', 'tunnel of box');
    expect(entries.at(-1)).toMatchObject({ source: 'tunnel', machine: 'box' });
  });

  test('are noted once an hour while they come again, and at once when something is new', async () => {
    for (let i = 0; i < 100; i++) agents.note(hello(), '192.0.2.7', 'unauthorized');
    agents.note(hello(), '192.0.2.7', 'duplicate_agent');
    agents.note(hello('x'), '192.0.2.7', 'unauthorized');
    agents.note(hello(), '192.0.2.8', 'unauthorized');
    expect(entries).toHaveLength(4);
    await clock.advance(hour);
    agents.note(hello(), '192.0.2.7', 'unauthorized');
    expect(entries).toHaveLength(5);
  });

  test('cannot fill it: a few lines a minute of one address, the last of which says so', async () => {
    for (let i = 0; i < 1000; i++) agents.note(hello(String(i)), '192.0.2.7', 'unauthorized');
    expect(entries).toHaveLength(20);
    expect(entries.at(-1)?.facts).toEqual({ silenced: true });
    agents.note(hello(), '192.0.2.8', 'unauthorized');
    expect(entries).toHaveLength(21);
  });

  test('that failed for another reason are not', () => {
    agents.note(hello(), '192.0.2.7', 'connection_reset');
    expect(entries).toEqual([]);
  });
});
