import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AgentConfig, AgentEndpoint } from '@codex-remote/protocol/schema';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { KnownEndpoints } from '../../src/connect/known-endpoints.ts';
import { type AgentHome, agentHome } from '../../src/home.ts';

const pin = (letter: string): string => `${letter.repeat(43)}=`;
const tunnel: AgentEndpoint = { kind: 'tunnel', dir: '/run' };
const direct: AgentEndpoint = {
  kind: 'wss',
  url: 'wss://controller.example',
  certificates: ['a'],
  spki_sha256: [pin('a')],
  proxy: 'http://proxy.example:3128',
};

describe('the endpoints of an agent', () => {
  let base: string;
  let home: AgentHome;
  let config: AgentConfig;
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'cra-'));
    home = agentHome(join(base, 'host', 'controller'));
    mkdirSync(home.path, { recursive: true });
    config = {
      version: 1,
      machine: 'box',
      controller_id: 'c0ffee00',
      controller_key: 'k'.repeat(43),
      host_id: 'h',
      endpoints: [tunnel, direct],
    };
    write(config);
  });
  afterEach(() => rmSync(base, { recursive: true }));

  const write = (value: AgentConfig): void => writeFileSync(home.config, JSON.stringify(value));

  test('are those of the file, as it is now', () => {
    const known = new KnownEndpoints(home, config);
    expect(known.list()).toEqual([tunnel, direct]);
    write({ ...config, endpoints: [tunnel] });
    expect(known.list()).toEqual([tunnel]);
  });

  test('stay as they were where the file cannot be read, or is of another controller', () => {
    const known = new KnownEndpoints(home, config);
    writeFileSync(home.config, '{');
    expect(known.list()).toEqual([tunnel, direct]);
    write({ ...config, controller_key: 'x'.repeat(43), endpoints: [tunnel] });
    expect(known.list()).toEqual([tunnel, direct]);
  });

  test('trust what they are told to, and keep the rest; durable, 0600', () => {
    const told = { certificates: ['a', 'b'], spki_sha256: [pin('a'), pin('b')] };
    expect(new KnownEndpoints(home, config).trust(told)).toBe(1);
    expect(statSync(home.config).mode & 0o777).toBe(0o600);
    const read = JSON.parse(readFileSync(home.config, 'utf8')) as AgentConfig;
    expect(read).toEqual({ ...config, endpoints: [tunnel, { ...direct, ...told }] });
  });

  test('are not written where nothing changes', () => {
    const before = statSync(home.config).ino;
    const { certificates, spki_sha256 } = direct;
    expect(new KnownEndpoints(home, config).trust({ certificates, spki_sha256 })).toBe(1);
    write({ ...config, endpoints: [tunnel] });
    const other = { certificates: ['b'], spki_sha256: [pin('b')] };
    expect(new KnownEndpoints(home, config).trust(other)).toBe(0);
    expect(statSync(home.config).ino).toBe(before);
  });
});
