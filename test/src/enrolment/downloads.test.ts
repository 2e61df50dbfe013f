import { type ClientRequest, createServer, type IncomingMessage, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemClock } from '@codex-remote/platform';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { downloadOf } from '../../../controller/src/enrolment/downloads.ts';
import { joinTokenMs } from '../../../controller/src/enrolment/join-tokens.ts';
import { waitFor } from '../lab/wait-for.ts';
import { InvitingLab, maxBytesEach } from './invited-host.ts';

describe('downloads of an invitation', () => {
  let lab: InvitingLab;
  let server: Server;
  let aheadMs: number;
  let id: string;
  const asking: ClientRequest[] = [];

  beforeEach(async () => {
    aheadMs = 0;
    lab = await InvitingLab.open({ ...systemClock, wall: () => systemClock.wall() + aheadMs });
    id = (await lab.invitations.invite('box')).tokenId;
    server = createServer((asked, response) => {
      const { tokenId, name } = downloadOf(asked.url ?? '') ?? { tokenId: '', name: '' };
      void lab.downloads.serve(tokenId, name, response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(async () => {
    for (const one of asking.splice(0)) one.destroy();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await lab.close();
  });

  /** An answer whose body nobody reads yet. */
  function ask(path: string): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const { port } = server.address() as AddressInfo;
      const one = request({ port, host: '127.0.0.1', path, agent: false }, resolve);
      asking.push(one);
      one.on('error', reject);
      one.end();
    });
  }

  async function status(path: string): Promise<number | undefined> {
    const answer = await ask(path);
    answer.resume();
    return answer.statusCode;
  }

  test('are for who knows the id of a token that is within its time, and of nothing else', async () => {
    expect(await status(`/v1/join/${id}/agent.mjs`)).toBe(200);
    for (const path of [
      '/v1/join/',
      '/v1/join/00000000000000000000/agent.mjs',
      `/v1/join/${id}`,
      `/v1/join/${id}/`,
      `/v1/join/${id}/../../etc/passwd`,
      `/v1/join/${id}/%2e%2e%2fregistry.json`,
      `/v1/join/${id}/constructor`,
    ])
      expect([path, await status(path)]).toEqual([path, 404]);
    aheadMs = joinTokenMs;
    expect(await status(`/v1/join/${id}/agent.mjs`)).toBe(404);
  });

  test.each(['revoked', 'removed'])('end where it was %s', async (how) => {
    if (how === 'revoked') await lab.tokens.revoke('box');
    else await lab.registry.remove('box');
    expect(await status(`/v1/join/${id}/start`)).toBe(404);
  });

  test('are so many bytes and no more, counted from their beginning', async () => {
    lab.grow('agent.mjs', maxBytesEach);
    const whole = await ask(`/v1/join/${id}/agent.mjs`);
    expect(whole.statusCode).toBe(200);
    whole.destroy();
    expect(await status(`/v1/join/${id}/start`)).toBe(429);
    const { tokenId } = await lab.invitations.invite('box');
    expect(await status(`/v1/join/${tokenId}/start`)).toBe(200);
  });

  test('are four at once for one invitation; a place that is free again is taken', async () => {
    lab.grow('agent.mjs', 32 * 1024 * 1024);
    const path = `/v1/join/${id}/agent.mjs`;
    const running = await Promise.all(Array.from({ length: 4 }, () => ask(path)));
    expect(running.map(({ statusCode }) => statusCode)).toEqual([200, 200, 200, 200]);
    expect(await status(path)).toBe(503);
    running[0]?.destroy();
    await waitFor('a free place', async () => (await status(path)) === 200);
  });
});
