import { setImmediate as turn } from 'node:timers/promises';
import { systemClock } from '@codex-remote/platform';
import { type Clock, encodeRecord } from '@codex-remote/protocol/wire';
import { afterEach, describe, expect, test } from 'vitest';
import { RequestBody } from '../../src/execs/request-body.ts';
import { execsWorld, finished, running, unknownExec } from './machine-stand-in.ts';

const never = new AbortController().signal;
const bodyless = new RequestBody(
  (async function* () {
    yield new Uint8Array(0);
  })(),
);
const worlds: ReturnType<typeof execsWorld>[] = [];
const worldOf = (...names: string[]) => {
  const world = execsWorld(names);
  worlds.push(world);
  return world;
};
afterEach(() => {
  for (const world of worlds.splice(0)) world.close();
});

describe('wait', () => {
  test('a caller that goes away while its machine is asked leaves nothing behind', async () => {
    const world = worldOf('box');
    const asked = Promise.withResolvers<void>();
    await world.history.record('box', [{ state: running('e') }]);
    world.connect('box', () => asked.resolve());
    const caller = new AbortController();
    const unhandled: unknown[] = [];
    const note = (error: unknown) => unhandled.push(error);
    process.on('unhandledRejection', note);
    const waiting = world.execs.wait(['e'], undefined, 'all', undefined, caller.signal);
    await asked.promise;
    caller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    await turn();
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
  });

  test('a caller that was gone before it began is not waited for', async () => {
    const world = worldOf('box');
    await world.history.record('box', [{ state: running('e') }]);
    const waiting = world.execs.wait(['e'], undefined, 'all', undefined, AbortSignal.abort());
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
  });

  test('a machine that has gone silent holds up neither any, nor what has ended, nor the end of the wait', async () => {
    const world = worldOf('box', 'mute');
    const never_answers = () => new Promise<never>(() => {});
    world.connect('box', never_answers);
    world.connect('mute', never_answers);
    const tail = { from: 0, bytes: new Uint8Array() };
    await world.history.record('box', [{ state: finished('e'), stdout_tail: tail, stderr_tail: tail }]);
    await world.history.record('mute', [{ state: running('f') }]);
    const began = performance.now();
    const any = await world.execs.wait(['e', 'f'], undefined, 'any', undefined, never);
    expect(any).toMatchObject({
      done: true,
      execs: [{ state: { status: 'finished' } }, { state: { status: 'running' } }],
    });
    const all = await world.execs.wait(['e', 'f'], undefined, 'all', 50, never);
    expect(all.done).toBe(false);
    expect(performance.now() - began).toBeLessThan(20_000);
  });

  test('what has ended is answered before a machine that has gone silent is given up', async () => {
    // It is given a minute here.
    const setTimer: Clock['setTimer'] = (ms, run) => systemClock.setTimer(ms * 30, run);
    const world = execsWorld(['box'], { ...systemClock, setTimer });
    worlds.push(world);
    world.connect('box', () => new Promise<never>(() => {}));
    const tail = { from: 0, bytes: new Uint8Array() };
    await world.history.record('box', [{ state: finished('e'), stdout_tail: tail, stderr_tail: tail }]);
    const began = performance.now();
    expect((await world.execs.wait(['e'], undefined, 'all', undefined, never)).done).toBe(true);
    expect(performance.now() - began).toBeLessThan(30_000);
  });

  test('a machine that is removed meanwhile ends the wait, and so does a controller that stops', async () => {
    const world = worldOf('box', 'far');
    await world.history.record('box', [{ state: running('e') }]);
    await world.history.record('far', [{ state: running('f') }]);
    const removed = expect(world.execs.wait(['e'], undefined, 'all', undefined, never)).rejects.toMatchObject(
      { code: 'unknown_machine' },
    );
    const stopped = expect(world.execs.wait(['f'], undefined, 'all', undefined, never)).rejects.toMatchObject(
      { code: 'shutting_down' },
    );
    await turn();
    world.links.remove('box');
    await removed;
    world.links.closeAll();
    await stopped;
  });

  test('any of two on two machines, one of them away', async () => {
    const world = worldOf('box', 'far');
    await world.history.record('box', [{ state: running('e') }]);
    await world.history.record('far', [{ state: running('f') }]);
    let state = running('e');
    const asked = Promise.withResolvers<void>();
    world.connect('box', () => {
      asked.resolve();
      return { state };
    });
    const waiting = world.execs.wait(['e', 'f'], undefined, 'any', undefined, never);
    await asked.promise;
    state = finished('e');
    world.changes.publish('box', state);
    const { done, execs } = await waiting;
    expect(done).toBe(true);
    expect(execs.map((view) => [view.state.status, view.machine_connected])).toEqual([
      ['finished', true],
      ['running', false],
    ]);
  });
});

test('an end that the machine has reported with its tails is not asked for again', async () => {
  const world = worldOf('box');
  let asked = 0;
  world.connect('box', () => {
    asked++;
    return { state: finished('e') };
  });
  const tail = { from: 0, bytes: new Uint8Array(Buffer.from('out')) };
  void world.history.record('box', [{ state: finished('e') }]);
  expect((await world.execs.getEnded('e', 'box', never)).stdout_tail).toBeUndefined();
  expect(asked).toBe(1);
  await world.history.record('box', [{ state: finished('e'), stdout_tail: tail, stderr_tail: tail }]);
  expect((await world.execs.getEnded('e', 'box', never)).stdout_tail).toEqual({ from: 0, base64: 'b3V0' });
  expect(asked).toBe(1);
});

test('an end with writers remaining is asked for again, and no later answer knows less than an earlier one', async () => {
  const world = worldOf('box');
  const ended = (stdout_bytes: number) => ({ ...finished('e'), writers_remaining: true, stdout_bytes });
  const tail = (text: string) => ({ from: 0, bytes: new Uint8Array(Buffer.from(text)) });
  await world.history.record('box', [
    { state: ended(6), stdout_tail: tail('front\n'), stderr_tail: tail('') },
  ]);
  const cut = world.connect('box', () => ({ state: ended(11) }));
  const told = async () => {
    const waited = await world.execs.wait(['e'], undefined, 'all', undefined, never);
    const views = [...waited.execs, await world.execs.getEnded('e', 'box', never)];
    return [...views, ...world.execs.list({ limit: 1, ended_after_ms: 0 }).execs].map(
      ({ state }) => state.stdout_bytes,
    );
  };
  expect(await told()).toEqual([11, 11, 11]);
  cut();
  expect(await told()).toEqual([11, 11, 11]);
});

describe('an id that history does not know', () => {
  test('is looked for on every machine, and one that breaks does not hide another', async () => {
    const world = worldOf('box', 'far');
    const cut = world.connect('box', () => cut());
    world.connect('far', () => ({ state: running('e') }));
    world.links.of('box').takenDown();
    expect((await world.execs.get('e', undefined, 0, never)).machine).toBe('far');
  });

  test('is waited for on a machine that is just reconnecting', async () => {
    const world = worldOf('box');
    const getting = world.execs.get('e', undefined, 0, never);
    await turn();
    world.connect('box', () => ({ state: running('e') }));
    expect((await getting).state.status).toBe('running');
  });

  test('is not found, and the machines that could not be asked are named', async () => {
    const world = worldOf('box', 'far');
    world.connect('box', unknownExec);
    world.links.of('far').takenDown();
    const error = await world.execs.get('e', undefined, 0, never).catch((failure: unknown) => failure);
    expect(error).toMatchObject({ code: 'exec_not_found', details: { facts: { away: ['far'] } } });
    expect(error).toHaveProperty('message', expect.stringContaining('exec_id not found'));
  });

  test('is ambiguous where two machines have it', async () => {
    const world = worldOf('box', 'far');
    for (const name of ['box', 'far']) world.connect(name, () => ({ state: running('e') }));
    await expect(world.execs.get('e', undefined, 0, never)).rejects.toMatchObject({ code: 'ambiguous_id' });
  });
});

describe('an id that was accepted before', () => {
  test('is not started again by a machine that has lost its record of it [row 37]', async () => {
    const world = worldOf('box');
    await world.history.record('box', [{ state: running('e') }]);
    const verbs: string[] = [];
    world.connect('box', (_channel, verb) => {
      verbs.push(verb);
      return verb === 'exec.get' ? unknownExec() : { state: running('e'), attached: false };
    });
    await expect(world.execs.start('box', 'e', bodyless, 0, never)).rejects.toMatchObject({
      code: 'exec_removed',
      details: { exec_id: 'e', sent: 'no' },
    });
    expect(verbs).toEqual(['exec.get']);
  });

  test('is answered by a machine that remembers it', async () => {
    const world = worldOf('box');
    await world.history.record('box', [{ state: finished('e') }]);
    world.connect('box', (_channel, verb) =>
      verb === 'exec.get' ? { state: finished('e') } : { state: finished('e'), attached: true },
    );
    expect(await world.execs.start('box', 'e', bodyless, 0, never)).toMatchObject({ attached: true });
  });
});

test('a machine that was never brought up is not waited for', async () => {
  const world = worldOf('box');
  delete world.execs.machine('box').installation;
  const began = performance.now();
  await expect(world.execs.start('box', 'n', bodyless, 15_000, never)).rejects.toMatchObject({
    code: 'machine_offline',
    message: expect.stringContaining('never brought up'),
    details: { sent: 'no', exec_id: 'n' },
  });
  expect(performance.now() - began).toBeLessThan(10_000);
});

describe('a machine that was taken down', () => {
  test('is not waited for by a start, and its ended execs are answered at once', async () => {
    const world = worldOf('box');
    const began = performance.now();
    const state = finished('e');
    await world.history.record('box', [{ state: { ...state, stdout_bytes: 9000 } }]);
    world.connect('box', unknownExec);
    world.links.of('box').takenDown();
    await expect(world.execs.start('box', 'n', bodyless, 15_000, never)).rejects.toMatchObject({
      code: 'machine_offline',
      details: { sent: 'no', exec_id: 'n' },
    });
    const logs = await world.execs.logs(
      'e',
      undefined,
      { streams: ['stdout'], follow: false },
      async () => {},
      never,
    );
    expect(logs).toMatchObject({ complete: false, view: { machine_connected: false } });
    expect(logs.view.as_of).toBeDefined();
    expect(performance.now() - began).toBeLessThan(10_000);
  });
});

test('logs of an exec that ended after they were read may not be all', async () => {
  const world = worldOf('box');
  await world.history.record('box', [{ state: running('e') }]);
  let state: unknown = running('e');
  world.connect('box', async (channel, verb) => {
    if (verb === 'exec.get') return { state };
    await channel.write(encodeRecord({ kind: 'event', value: { ended: null } }));
    channel.end();
    return undefined;
  });
  const read = () =>
    world.execs.logs('e', undefined, { streams: ['stdout'], follow: false }, async () => {}, never);
  expect(await read()).toMatchObject({ complete: true, view: { state: { status: 'running' } } });
  state = finished('e');
  expect(await read()).toMatchObject({ complete: false, view: { state: { status: 'finished' } } });
});

describe('get', () => {
  test('asks the next connection when one breaks under the question', async () => {
    const world = worldOf('box');
    await world.history.record('box', [{ state: running('e') }]);
    const cut = world.connect('box', () => {
      world.connect('box', () => ({ state: finished('e') }));
      cut();
    });
    expect((await world.execs.get('e', undefined, 0, never)).state.status).toBe('finished');
  });
});
