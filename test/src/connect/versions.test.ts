import { systemClock } from '@codex-remote/platform';
import { agreeOnVersion, type VersionRange } from '@codex-remote/protocol/schema';
import { call, RemoteError, Session } from '@codex-remote/protocol/wire';
import { afterEach, describe, expect, test } from 'vitest';
import { dial } from '../../../agent/src/connect/dial.ts';
import { greetController } from '../../../agent/src/connect/handshake.ts';
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

  test('speak the highest version that both know', () => {
    expect(agreeOnVersion({ oldest: 2, current: 5 }, { oldest: 1, current: 4 })).toBe(4);
    expect(agreeOnVersion({ oldest: 1, current: 3 }, { oldest: 3, current: 9 })).toBe(3);
    expect(() => agreeOnVersion({ oldest: 4, current: 5 }, { oldest: 1, current: 3 })).toThrow(/newer/);
  });
});
