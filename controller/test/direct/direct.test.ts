import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeClock } from '../../../packages/protocol/test/support/fake-clock.ts';
import { waitFor } from '../../../test/src/lab/wait-for.ts';
import type { Trust } from '../../src/direct/certificate.ts';
import { Direct, type DirectOptions } from '../../src/direct/direct.ts';
import { hostNames } from '../../src/direct/settings.ts';

const day = 24 * 60 * 60 * 1000;

describe('how a controller is reached over the network', () => {
  let dir: string;
  const made: Direct[] = [];
  const squatters: Server[] = [];
  let told: Trust[];
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'crd-'));
    told = [];
  });
  afterEach(async () => {
    for (const direct of made.splice(0)) direct.close();
    for (const server of squatters.splice(0)) server.close();
    rmSync(dir, { recursive: true });
  });

  async function open(more: Partial<DirectOptions> = {}): Promise<Direct> {
    const direct = new Direct({
      clock: systemClock,
      random: () => 0,
      log: pino({ level: 'silent' }),
      settings: join(dir, 'direct.json'),
      certificate: join(dir, 'certificate.json'),
      onUpgrade: (_request, socket) => socket.destroy(),
      onRequest: (_request, response) => response.end(),
      announce: async (trust) => {
        told.push(trust);
      },
      ...more,
    });
    made.push(direct);
    await direct.open();
    return direct;
  }

  async function squat(): Promise<number> {
    const server = createServer();
    squatters.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    return typeof address === 'object' && address ? address.port : 0;
  }

  const url = 'https://controller.example:7443';

  test('not at all, unless somebody says so: no key, no file', async () => {
    const direct = await open();
    expect(direct.status()).toEqual({});
    expect([direct.address(), direct.trust, direct.hosts()]).toEqual([undefined, undefined, []]);
    expect(() => readFileSync(join(dir, 'certificate.json'))).toThrow();
  });

  test('where it was told, also after a restart; by nobody before it has a public URL', async () => {
    const first = await open();
    await first.configure({ listen: '127.0.0.1:0' });
    expect(first.address()).toBeUndefined();
    await first.configure({ public_url: url });
    const address = first.address();
    expect(address).toMatchObject({ url, spki_sha256: [first.status().certificate_sha256] });
    first.close();
    const second = await open();
    expect(second.address()).toEqual(address);
    expect(second.hosts()).toEqual(['controller.example', 'localhost', '127.0.0.1', '[::1]']);
    await second.configure({ listen: null, public_url: null });
    expect(second.status()).toMatchObject({ certificate_sha256: address?.spki_sha256[0] });
    expect(second.status().listen).toBeUndefined();
    expect((await open()).status()).toEqual({});
  });

  test.each([
    ['0.0.0.0:7443', ['controller.example', 'localhost', '127.0.0.1', '[::1]']],
    ['[::]:7443', ['controller.example', 'localhost', '127.0.0.1', '[::1]']],
    ['192.0.2.1:7443', ['controller.example', '192.0.2.1']],
    ['[2001:DB8::1]:7443', ['controller.example', '[2001:db8::1]']],
    ['Box.example:7443', ['controller.example', 'box.example']],
  ])('%s is asked for as %j', (listen, names) => {
    expect(hostNames({ listen, public_url: url })).toEqual(names);
  });

  test('an address that is not to be had changes nothing', async () => {
    const direct = await open();
    await direct.configure({ listen: '127.0.0.1:0', public_url: url });
    const before = [direct.status().public_url, direct.status().certificate_sha256];
    const port = await squat();
    await expect(direct.configure({ listen: `127.0.0.1:${port}` })).rejects.toMatchObject({
      code: 'listen_failed',
      details: { facts: { reason: 'in_use' } },
    });
    await expect(direct.configure({ listen: '192.0.2.1:7443' })).rejects.toMatchObject({
      details: { facts: { reason: 'not_ours' } },
    });
    await expect(direct.configure({ public_url: 'http://x' })).rejects.toMatchObject({ code: 'usage' });
    expect([direct.status().public_url, direct.status().certificate_sha256]).toEqual(before);
    expect(direct.status().listen_error).toBeUndefined();
    expect(direct.address()?.url).toBe(url);
  });

  test('a public URL without a port is wrong usage', async () => {
    const direct = await open();
    await expect(direct.configure({ public_url: url })).rejects.toMatchObject({ code: 'usage' });
    await expect(direct.rotate(0)).rejects.toMatchObject({ code: 'usage' });
  });

  test('a port that is taken is in the status, and tried until it is free', async () => {
    const port = await squat();
    writeFileSync(join(dir, 'direct.json'), JSON.stringify({ version: 1, listen: `127.0.0.1:${port}` }));
    const direct = await open();
    expect(direct.status().listen_error).toMatchObject({ code: 'listen_failed' });
    expect(direct.address()).toBeUndefined();
    squatters[0]?.close();
    await waitFor('the port', () => direct.status().listen_error === undefined);
    expect(direct.status().listen).toBe(`127.0.0.1:${port}`);
  });

  test.each([
    ['direct.json', '{'],
    ['direct.json', '{"version":1,"listen":"nowhere"}'],
    ['certificate.json', '{}'],
  ])('a damaged %s (%s) is in the status, and made anew by nobody', async (name, text) => {
    writeFileSync(join(dir, 'direct.json'), JSON.stringify({ version: 1, listen: '127.0.0.1:0' }));
    writeFileSync(join(dir, name), text);
    const direct = await open();
    expect(direct.status().listen_error).toMatchObject({ code: 'state_unusable' });
    expect(readFileSync(join(dir, name), 'utf8')).toBe(text);
  });

  test('a rotation is announced before it serves, and its end too; over a restart as well', async () => {
    const clock = new FakeClock();
    const first = await open({ clock });
    await first.configure({ listen: '127.0.0.1:0', public_url: url });
    const before = first.status().certificate_sha256 ?? '';
    await first.rotate(7 * day);
    const next = first.status().next_certificate_sha256 ?? '';
    expect(told.map(({ spki_sha256 }) => spki_sha256)).toEqual([[before, next]]);
    expect(first.address()?.spki_sha256).toEqual([before, next]);
    expect(first.address()?.certificate.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    first.close();
    const second = await open({ clock });
    for (let left = 7 * day; left > 0; left -= day / 2) await clock.advance(day / 2);
    await waitFor('the switch', () => second.status().certificate_sha256 === next);
    await waitFor('its announcement', () => told.at(-1)?.spki_sha256.length === 1);
    expect(told.at(-1)?.spki_sha256).toEqual([next]);
    expect(second.status().next_certificate_sha256).toBeUndefined();
    second.close();
    await waitFor('no timer', () => clock.pending === 0);
  });

  test('a certificate that will soon be over is rotated by itself', async () => {
    const at = (years: number) => ({
      ...systemClock,
      wall: () => Date.parse('2026-05-04') + years * 365.25 * day,
    });
    const first = await open({ clock: at(0) });
    await first.configure({ listen: '127.0.0.1:0' });
    first.close();
    const younger = await open({ clock: at(9.5) });
    expect(younger.status().next_certificate_from).toBeUndefined();
    younger.close();
    const older = await open({ clock: at(9.8) });
    expect(older.status().certificate_sha256).toBe(younger.status().certificate_sha256);
    expect(older.status().next_certificate_from).toMatch(/^2036-0[45]/);
  });

  test('without overlap the next key serves when those that are connected have noted it', async () => {
    const seen: [readonly string[], string | undefined][] = [];
    const direct: Direct = await open({
      announce: async ({ spki_sha256 }) => {
        seen.push([spki_sha256, direct.status().certificate_sha256]);
      },
    });
    await direct.configure({ listen: '127.0.0.1:0' });
    const before = direct.status().certificate_sha256 ?? '';
    await direct.rotate(0);
    const next = direct.status().certificate_sha256 ?? '';
    expect(next).not.toBe(before);
    expect(seen).toEqual([
      [[before, next], before],
      [[next], next],
    ]);
  });
});
