import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RequestBody } from '../../src/execs/request-body.ts';
import { queuesNow, setQueues } from '../../src/machines/queues.ts';
import { execsWorld, running } from './machine-stand-in.ts';

let world: ReturnType<typeof execsWorld>;
beforeEach(() => {
  world = execsWorld(['box']);
});
afterEach(() => world.close());

const never = new AbortController().signal;
const body = () =>
  new RequestBody(
    (async function* () {
      yield new Uint8Array(0);
    })(),
  );
const outdated = {
  code: 'agent_outdated',
  details: { machine: 'box', sent: 'no', hint: expect.stringContaining('machine up -m box') },
};
const queues = [{ queue: 'gpu', concurrency: 2, running: 1, queued: 0 }];

describe('an agent of a version that knows no queues', () => {
  it('is not sent a request that needs them, and is sent every other', async () => {
    const asked: string[] = [];
    world.connect(
      'box',
      (_channel, verb) => {
        asked.push(verb);
        return { state: running('n'), attached: false };
      },
      [],
    );
    await expect(world.execs.start('box', 'n', body(), 0, never, ['queues'])).rejects.toMatchObject(outdated);
    await expect(setQueues(world.links.of('box'), { gpu: 2 }, 0, never)).rejects.toMatchObject(outdated);
    expect(await queuesNow(world.links.of('box'), never)).toBeUndefined();
    expect(asked).toEqual([]);
    expect((await world.execs.start('box', 'n', body(), 0, never)).view.state.status).toBe('running');
  });
});

describe('the queues of a machine', () => {
  it('are asked of it, and set there, again on the next connection where one broke', async () => {
    let times = 0;
    let cut = (): void => undefined;
    const serve = (_channel: unknown, verb: string, params: unknown): unknown => {
      if (verb === 'queues.get') return { queues };
      times++;
      expect(params).toEqual({ concurrency: { gpu: 2 } });
      if (times > 1) return { queues };
      cut();
      return undefined;
    };
    cut = world.connect('box', serve);
    expect(await queuesNow(world.links.of('box'), never)).toEqual(queues);
    const set = setQueues(world.links.of('box'), { gpu: 2 }, 10_000, never);
    await expect.poll(() => world.links.of('box').live).toBeUndefined();
    world.connect('box', serve);
    expect(await set).toEqual(queues);
    expect(times).toBe(2);
  });

  it('are not known while it is away, and cannot be set', async () => {
    expect(await queuesNow(world.links.of('box'), never)).toBeUndefined();
    await expect(setQueues(world.links.of('box'), { gpu: 2 }, 0, never)).rejects.toMatchObject({
      code: 'machine_offline',
    });
  });
});
