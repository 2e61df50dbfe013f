import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import { agreeOnVersion, type VersionRange } from '@codex-remote/protocol/schema';
import { call, RemoteError, Session } from '@codex-remote/protocol/wire';
import { afterEach, describe, expect, test } from 'vitest';
import { dial } from '../../../agent/src/connect/dial.ts';
import { greetController } from '../../../agent/src/connect/handshake.ts';
import { ProtocolFloor } from '../../../agent/src/connect/protocol-floor.ts';
import { waitFor } from '../lab/wait-for.ts';
import { Meeting } from './meeting.ts';

/** What release N speaks: its own version and the one before. */
const release = (n: number): VersionRange => ({ oldest: Math.max(1, n - 1), current: n });

describe('agent and controller of two releases', () => {
  let meeting: Meeting | undefined;
  afterEach(() => meeting?.close());

  async function meet(agent: VersionRange, controller: VersionRange): Promise<Session> {
    meeting = new Meeting(systemClock, controller);
    await meeting.listen();
    const dialled = await dial({ kind: 'unix', path: meeting.socket }, new AbortController().signal);
    await greetController(dialled, { ...meeting.self(), versions: agent }, systemClock);
    return new Session({
      transport: dialled.transport,
      side: 'agent',
      clock: systemClock,
      accept: async (channel, verb) => {
        await channel.send({ verb });
        channel.end();
      },
    });
  }

  test.each([
    [1, 1],
    [1, 2],
    [2, 1],
    [3, 2],
  ])('agent %i and controller %i work together', async (agent, controller) => {
    const session = await meet(release(agent), release(controller));
    const ours = await waitFor('the session', () => meeting?.sessions[0]);
    expect(await call(ours, 'agent.info', {})).toEqual({ verb: 'agent.info' });
    session.end();
    await ours.closed;
  });

  test.each([
    [1, 3, 'the agent speaks protocol 1, this controller 2 to 3'],
    [3, 1, 'the agent is newer than this controller'],
  ])('agent %i and controller %i do not, and both are told', async (agent, controller, words) => {
    const failure = await meet(release(agent), release(controller)).then(
      () => expect.fail('it was let in'),
      (error: unknown) => RemoteError.from(error),
    );
    expect(failure).toMatchObject({ code: 'agent_outdated', message: expect.stringContaining(words) });
    const refusal = await waitFor('the refusal', () => meeting?.refusals[0]);
    expect(refusal).toMatchObject({ code: 'agent_outdated', retryable: false });
    expect(meeting?.sessions).toEqual([]);
  });

  /** One after the other, each a connection to a controller of its own; what is remembered goes on. */
  async function inTurn(pairs: readonly (readonly [agent: number, controller: number])[]) {
    const floors = new Map<string, number>();
    const dir = mkdtempSync(join(tmpdir(), 'crv-'));
    const results: string[] = [];
    try {
      const floor = new ProtocolFloor(join(dir, 'protocol'));
      for (const [agent, controller] of pairs) {
        const one = new Meeting(systemClock, release(controller));
        for (const [machine, low] of floors) one.floors.set(machine, low);
        await one.listen();
        const dialled = await dial({ kind: 'unix', path: one.socket }, new AbortController().signal);
        const self = { ...one.self(), versions: release(agent), floor };
        results.push(
          await greetController(dialled, self, systemClock).then(
            () => 'in',
            (error: unknown) => RemoteError.from(error).code,
          ),
        );
        dialled.transport.destroy();
        for (const [machine, low] of one.floors) floors.set(machine, low);
        await one.close();
      }
      return { results, remembered: [floor.read(), floors.get('box') ?? 1] };
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  }

  test.each([
    [
      'either side one release back, and on again',
      [
        [3, 3],
        [3, 2],
        [2, 3],
        [2, 2],
        [3, 3],
      ],
      ['in', 'in', 'in', 'in', 'in'],
    ],
    [
      'an agent two releases back',
      [
        [3, 3],
        [1, 2],
      ],
      ['in', 'agent_outdated'],
    ],
    [
      'a controller two releases back',
      [
        [3, 3],
        [2, 1],
      ],
      ['in', 'agent_outdated'],
    ],
    [
      'both two releases back',
      [
        [3, 3],
        [1, 1],
      ],
      ['in', 'agent_outdated'],
    ],
  ] as const)('%s: nobody goes below what was spoken before [row 83]', async (_what, pairs, expected) => {
    const { results, remembered } = await inTurn(pairs);
    expect(results).toEqual(expected);
    expect(remembered).toEqual([2, 2]);
  });

  test('a controller alone remembers it too: an agent that has lost its home is not taken back [row 83]', async () => {
    meeting = new Meeting(systemClock, release(2));
    meeting.floors.set('box', 2);
    await meeting.listen();
    const dialled = await dial({ kind: 'unix', path: meeting.socket }, new AbortController().signal);
    const old = greetController(dialled, { ...meeting.self(), versions: release(1) }, systemClock);
    await expect(old).rejects.toMatchObject({ code: 'agent_outdated' });
    expect(meeting.sessions).toEqual([]);
  });

  test('a version that was not offered is not spoken, and a changed offer is another transcript [row 83]', async () => {
    meeting = new Meeting();
    await meeting.listen();
    const dialled = await dial({ kind: 'unix', path: meeting.socket }, new AbortController().signal);
    const { transport } = dialled;
    const send = transport.sendText.bind(transport);
    // Somebody in between makes an offer of 2 to 3 one of 1 to 1.
    transport.sendText = (text) => send(text.replace('"oldest":2,"current":3', '"oldest":1,"current":1'));
    const greeting = greetController(dialled, { ...meeting.self(), versions: release(3) }, systemClock);
    await expect(greeting).rejects.toMatchObject({ code: 'agent_outdated' });
    const again = await dial({ kind: 'unix', path: meeting.socket }, new AbortController().signal);
    const sendAgain = again.transport.sendText.bind(again.transport);
    again.transport.sendText = (text) =>
      sendAgain(text.replace('"oldest":1,"current":2', '"oldest":1,"current":1'));
    const other = greetController(again, { ...meeting.self(), versions: release(2) }, systemClock);
    await expect(other).rejects.toMatchObject({ code: 'unauthorized' });
    expect(meeting.sessions).toEqual([]);
  });

  test('speak the highest version that both know', () => {
    expect(agreeOnVersion({ oldest: 2, current: 5 }, { oldest: 1, current: 4 })).toBe(4);
    expect(agreeOnVersion({ oldest: 1, current: 3 }, { oldest: 3, current: 9 })).toBe(3);
    expect(() => agreeOnVersion({ oldest: 4, current: 5 }, { oldest: 1, current: 3 })).toThrow(/newer/);
  });
});
