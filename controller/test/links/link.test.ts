import type { Hello } from '@codex-remote/protocol/schema';
import { type Clock, RemoteError, type Session } from '@codex-remote/protocol/wire';
import { describe, expect, test } from 'vitest';
import { MachineLink } from '../../src/links/link.ts';
import { Links } from '../../src/links/links.ts';

/** A clock that moves when told. */
function fakeClock(): Clock & { advance(ms: number): void } {
  let now = 1_000_000;
  const timers = new Set<{ at: number; run: () => void }>();
  return {
    monotonic: () => now,
    wall: () => now,
    setTimer(ms, run) {
      const timer = { at: now + ms, run };
      timers.add(timer);
      return { cancel: () => timers.delete(timer) };
    },
    advance(ms) {
      now += ms;
      for (const timer of [...timers]) {
        if (timer.at > now) continue;
        timers.delete(timer);
        timer.run();
      }
    },
  };
}

interface FakeSession {
  session: Session;
  ended: RemoteError[];
  close(): void;
}

/** Stands for a session: only its end is looked at here. */
function fakeSession(answering = true): FakeSession {
  const closed = Promise.withResolvers<RemoteError>();
  const ended: RemoteError[] = [];
  const end = (cause: RemoteError): void => {
    ended.push(cause);
    closed.resolve(cause);
  };
  return {
    session: { closed: closed.promise, end, answers: async () => answering } as unknown as Session,
    ended,
    close: () => closed.resolve(new RemoteError('connection_reset', 'gone')),
  };
}

const info = (instance: string) => ({
  connection: 'tunnel' as const,
  connectedSince: '',
  hello: { instance_id: instance } as Hello,
});
const never = new AbortController().signal;

describe('MachineLink', () => {
  test('whoever waits gets the next session', async () => {
    const link = new MachineLink('box', fakeClock());
    const waiting = link.session(5_000, never);
    const { session } = fakeSession();
    link.attach(session, info('a'));
    expect(await waiting).toBe(session);
    expect(await link.session(0, never)).toBe(session);
  });

  test('a wait ends with machine_offline when its time is over, with cancelled when its caller goes', async () => {
    const clock = fakeClock();
    const link = new MachineLink('box', clock);
    const late = expect(link.session(5_000, never)).rejects.toMatchObject({
      code: 'machine_offline',
      details: { sent: 'no' },
    });
    const caller = new AbortController();
    const withdrawn = expect(link.session(5_000, caller.signal)).rejects.toMatchObject({ code: 'cancelled' });
    caller.abort();
    clock.advance(5_000);
    await late;
    await withdrawn;
  });

  test('a newer connection replaces an older one; the late end of the older changes nothing', async () => {
    const link = new MachineLink('box', fakeClock());
    const first = fakeSession();
    const second = fakeSession();
    link.attach(first.session, info('a'));
    link.attach(second.session, info('a'));
    expect(first.ended.map((cause) => cause.code)).toEqual(['session_replaced']);
    await first.session.closed;
    expect(link.live?.session).toBe(second.session);
  });

  const hello = (instance_id: string) => ({ instance_id }) as Hello;
  const duplicate = expect.objectContaining({ code: 'duplicate_agent' });

  test('another agent is refused while the connected one answers, started later or before; the same one is not [row 27]', async () => {
    const clock = fakeClock();
    const link = new MachineLink('box', clock);
    link.attach(fakeSession(true).session, info('b'));
    for (const copy of ['a', 'c']) await expect(link.admit(hello(copy))).rejects.toThrow(duplicate);
    await link.admit(hello('b'));
    expect(link.duplicateSeenMs).toBe(clock.wall());
  });

  test('an agent that was started again takes over from one that answers no more, and at once where none is', async () => {
    const link = new MachineLink('box', fakeClock());
    await link.admit(hello('a'));
    const silent = fakeSession(false);
    link.attach(silent.session, info('a'));
    await link.admit(hello('b'));
    silent.close();
    await silent.session.closed;
    await link.admit(hello('c'));
    expect(link.duplicateSeenMs).toBeUndefined();
  });

  test('a copy that was refused stays so while the other may be reconnecting, then takes its place [row 27]', async () => {
    const clock = fakeClock();
    const link = new MachineLink('box', clock);
    const live = fakeSession(true);
    link.attach(live.session, info('a'));
    await expect(link.admit(hello('copy'))).rejects.toThrow(duplicate);
    live.close();
    await live.session.closed;
    clock.advance(59_000);
    await expect(link.admit(hello('copy'))).rejects.toThrow(duplicate);
    await link.admit(hello('a'));
    clock.advance(2_000);
    await link.admit(hello('copy'));
  });

  test('waiting makes sense for a machine that was just there, and not for one that is long gone', async () => {
    const clock = fakeClock();
    const link = new MachineLink('box', clock);
    const one = fakeSession();
    link.attach(one.session, info('a'));
    one.close();
    await one.session.closed;
    expect(link.patience(15_000)).toBe(15_000);
    clock.advance(61_000);
    expect(link.patience(15_000)).toBe(0);
  });

  test('a connection that was there for long is waited for from the moment of its end, before the link is told', () => {
    const clock = fakeClock();
    const link = new MachineLink('box', clock);
    const { session } = fakeSession();
    link.attach(session, info('a'));
    clock.advance(10 * 60_000);
    Object.assign(session, { ended: new RemoteError('peer_silent', 'gone') });
    expect(link.live).toBe(undefined);
    expect(link.patience(15_000)).toBe(15_000);
  });

  test('a removed machine tells everybody who waits', async () => {
    const link = new MachineLink('box', fakeClock());
    const waiting = expect(link.session(5_000, never)).rejects.toMatchObject({ code: 'unknown_machine' });
    link.close(new RemoteError('unknown_machine', 'unknown machine box'));
    await waiting;
  });
});

describe('a machine that was taken down', () => {
  test('is waited for by nobody until it connects again', async () => {
    const link = new MachineLink('box', fakeClock());
    const waiting = link.session(5_000, never);
    const session = fakeSession();
    link.takenDown();
    await expect(waiting).rejects.toMatchObject({ code: 'machine_offline' });
    expect(link.patience(15_000)).toBe(0);
    expect(link.offline().message).toContain('taken down');
    link.attach(session.session, info('1'));
    expect(link.patience(15_000)).toBe(15_000);
  });
});

test('a machine that has not come since the controller started long ago is not just reconnecting', () => {
  const clock = fakeClock();
  const links = new Links(clock);
  clock.advance(10 * 60_000);
  expect(links.of('box').patience(15_000)).toBe(0);
});
