import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeClock } from '../../../packages/protocol/test/support/fake-clock.ts';
import { maxFailures } from '../../src/access/failure-limit.ts';
import {
  type JoinAttempt,
  type JoinOutcome,
  JoinTokens,
  joinTokenMs,
} from '../../src/enrolment/join-tokens.ts';
import { LowdbRegistry } from '../../src/registry/lowdb-registry.ts';

let dir: string;
let path: string;
let clock: FakeClock;
let registry: LowdbRegistry;
let tokens: JoinTokens;
let told: JoinOutcome[];
let logged: string[];
/** What the audit log says to an entry. */
let recorded: (outcome: JoinOutcome) => Promise<void>;

async function open(): Promise<void> {
  registry = await LowdbRegistry.open(path);
  const log = pino({ base: null }, { write: (line: string) => logged.push(line) });
  tokens = new JoinTokens({
    registry,
    clock,
    log,
    record: (outcome) => recorded(outcome),
  });
}

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'cr-join-'));
  path = join(dir, 'registry.json');
  clock = new FakeClock();
  told = [];
  logged = [];
  recorded = async (outcome) => {
    told.push(outcome);
  };
  await open();
  for (const name of ['box', 'other'])
    await registry.add({ name, added_at: '2026-01-01T00:00:00.000Z', ssh_memory: {} });
});
afterEach(() => rmSync(dir, { recursive: true }));

function attempt(token: string, agentKey = 'k'.repeat(43), more: Partial<JoinAttempt> = {}): JoinAttempt {
  return { machine: 'box', agentKey, hostId: 'h', token, peer: '192.0.2.9:4711', bound: true, ...more };
}

async function join1(wanted: JoinAttempt): Promise<true | RemoteError> {
  try {
    await (await tokens.claim(wanted)).consume();
    return true;
  } catch (error) {
    return RemoteError.from(error);
  }
}

describe('a join token', () => {
  test('lets one key in, is on disk as used before that is answered, and its secret is nowhere', async () => {
    const { token, id } = await tokens.issue('box');
    expect(await join1(attempt(token))).toBe(true);
    const text = readFileSync(path, 'utf8');
    const [machine] = JSON.parse(text).machines;
    expect(machine).toMatchObject({
      installation: { agent_key: 'k'.repeat(43), host_id: 'h', connection: 'direct' },
      invites: [{ id, used_by: 'k'.repeat(43) }],
    });
    const secret = token.split('.')[1] ?? '';
    expect(text + logged.join('')).not.toContain(secret);
    expect(told.map(({ result }) => result)).toEqual(['requested', 'enrolled']);
    expect(told.slice(1)).toEqual([
      {
        tokenId: id,
        machine: 'box',
        keyFingerprint: expect.stringMatching(/^SHA256:[A-Za-z0-9+/]{43}$/),
        peer: '192.0.2.9:4711',
        result: 'enrolled',
      },
    ]);
    expect(JSON.parse(logged[0] ?? '')).toMatchObject({ tokenId: id, peer: '192.0.2.9:4711' });
  });

  test('used by 100 keys at once lets exactly one in, and it is the one on disk [row 77]', async () => {
    const { token } = await tokens.issue('box');
    const keys = Array.from({ length: 100 }, (_, i) => `${i}`.padStart(43, 'k'));
    const answers = await Promise.all(keys.map((key) => join1(attempt(token, key))));
    const winners = keys.filter((_, i) => answers[i] === true);
    expect(winners).toHaveLength(1);
    expect((await LowdbRegistry.open(path)).get('box')?.installation?.agent_key).toBe(winners[0]);
    expect(told.filter(({ result }) => result === 'token_used')).toHaveLength(99);
  });

  test('used again by the same key, after its time too, is a success [row 78]', async () => {
    const { token } = await tokens.issue('box');
    expect(await join1(attempt(token))).toBe(true);
    expect(await join1(attempt(token))).toBe(true);
    await open();
    clock.jump(joinTokenMs);
    expect(await join1(attempt(token))).toBe(true);
    expect(told.map(({ result }) => result)).toEqual(['requested', 'enrolled', 'again', 'again']);
  });

  test('says the same in each case in which it lets nobody in; log and audit say which [row 79]', async () => {
    const { token: expired } = await tokens.issue('box');
    clock.jump(joinTokenMs);
    const { token: revoked } = await tokens.issue('box');
    expect(await tokens.revoke('box')).toBe(1);
    const { token: others } = await tokens.issue('other');
    const { token: good, id } = await tokens.issue('box');
    const cases: [JoinAttempt, JoinOutcome['result']][] = [
      [attempt(expired), 'token_expired'],
      [attempt(revoked), 'token_revoked'],
      [attempt(others), 'token_scope'],
      [attempt(`${id}.${'A'.repeat(43)}`), 'token_wrong'],
      [attempt(`${'0'.repeat(20)}.${'A'.repeat(43)}`), 'token_unknown'],
      [attempt('not a token\n'), 'token_unknown'],
      [attempt(good, undefined, { bound: false }), 'token_transport'],
      [attempt(good, undefined, { machine: 'nobody' }), 'token_scope'],
    ];
    const answers = [];
    for (const [wanted] of cases) answers.push(await join1(wanted));
    expect(told.map(({ result }) => result)).toEqual(cases.map(([, result]) => result));
    expect(new Set(answers.map((answer) => JSON.stringify((answer as RemoteError).toWire())))).toHaveProperty(
      'size',
      1,
    );
    expect(answers[0]).toMatchObject({ code: 'unauthorized' });
    expect(told.find(({ result }) => result === 'token_unknown')).toHaveProperty('tokenId', '0'.repeat(20));
    expect(JSON.stringify(told)).not.toContain('not a token');
    // None of it has used the good one up.
    expect(await join1(attempt(good))).toBe(true);
  });

  test('that ran out between the look and the use lets nobody in', async () => {
    const { token } = await tokens.issue('box');
    const claim = await tokens.claim(attempt(token));
    clock.jump(joinTokenMs);
    await expect(claim.consume()).rejects.toMatchObject({ code: 'unauthorized' });
    expect(registry.get('box')?.installation).toBeUndefined();
  });

  test('goes with its machine, also between the look and the use', async () => {
    const { token } = await tokens.issue('box');
    const claim = await tokens.claim(attempt(token));
    await registry.remove('box');
    await expect(claim.consume()).rejects.toMatchObject({ code: 'unauthorized' });
    await registry.add({ name: 'box', added_at: '2026-01-01T00:00:00.000Z', ssh_memory: {} });
    expect(await join1(attempt(token))).toMatchObject({ code: 'unauthorized' });
  });

  test('of a machine that another key has taken over since does not give it back', async () => {
    const { token: first } = await tokens.issue('box');
    expect(await join1(attempt(first, 'a'.repeat(43)))).toBe(true);
    const { token: second } = await tokens.issue('box');
    expect(await join1(attempt(second, 'b'.repeat(43)))).toBe(true);
    expect(await join1(attempt(first, 'a'.repeat(43)))).toMatchObject({ code: 'unauthorized' });
    expect(registry.get('box')?.installation?.agent_key).toBe('b'.repeat(43));
  });

  test('is of no use any more once the machine is in by another', async () => {
    const { token: unused } = await tokens.issue('box');
    const { token } = await tokens.issue('box');
    expect(await join1(attempt(token, 'a'.repeat(43)))).toBe(true);
    expect(await join1(attempt(unused, 'b'.repeat(43)))).toMatchObject({ code: 'unauthorized' });
    expect(told.at(-1)).toMatchObject({ result: 'token_revoked' });
  });

  test('that cannot be written down as used lets nobody in, and can be used when it can', async () => {
    const { token } = await tokens.issue('box');
    rmSync(dir, { recursive: true });
    expect(await join1(attempt(token))).toMatchObject({ code: 'internal' });
    expect(registry.get('box')?.installation).toBeUndefined();
    mkdirSync(dir);
    expect(await join1(attempt(token))).toBe(true);
  });

  test("whose use cannot be recorded makes no key the machine's: it would come back without a token", async () => {
    const { token } = await tokens.issue('box');
    recorded = () => Promise.reject(new RemoteError('disk_low', 'the audit log cannot be written'));
    expect(await join1(attempt(token))).toMatchObject({ code: 'disk_low' });
    expect(registry.get('box')?.installation).toBeUndefined();
    recorded = async (outcome) => {
      told.push(outcome);
    };
    expect(await join1(attempt(token))).toBe(true);
  });

  test('that is guessed fills neither log nor audit, and a good one from there is let in', async () => {
    const { token, id } = await tokens.issue('box');
    const wrong = [`${id}.${'A'.repeat(43)}`, `${'0'.repeat(20)}.${'A'.repeat(43)}`, 'none'];
    for (let i = 0; i < 300; i++)
      expect(await join1(attempt(wrong[i % 3] ?? '', `${i}`.padStart(43, 'k')))).toMatchObject({
        code: 'unauthorized',
      });
    expect(told).toHaveLength(maxFailures);
    expect(logged).toHaveLength(maxFailures);
    expect(told.map(({ silenced }) => silenced).lastIndexOf(true)).toBe(maxFailures - 1);
    expect(await join1(attempt(token))).toBe(true);
    expect(told.at(-1)).toMatchObject({ result: 'enrolled' });
  });

  test('names its machine for downloads while it is within its time, used or not', async () => {
    const { token, id } = await tokens.issue('box');
    expect(tokens.machineOf(id)).toMatchObject({ machine: 'box' });
    await join1(attempt(token));
    expect(tokens.machineOf(id)).toMatchObject({ machine: 'box' });
    clock.jump(joinTokenMs);
    expect(tokens.machineOf(id)).toBeUndefined();
  });
});
