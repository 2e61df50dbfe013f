import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SshEnvironment } from '../../src/ssh/openssh.ts';
import { isConfigured, resolveHost } from '../../src/ssh/resolve.ts';

let dir: string;
let made = 0;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'crr-'));
});

afterAll(() => rm(dir, { recursive: true, force: true }));

async function environment(config: string, more: Partial<SshEnvironment> = {}): Promise<SshEnvironment> {
  const configPath = join(dir, `config${++made}`);
  await writeFile(configPath, config);
  return { configPath, env: { PATH: process.env.PATH, KEYS: '/keys' }, ...more };
}

describe('what OpenSSH would do', () => {
  it('is read with tokens, tilde and variables replaced', async () => {
    const env = await environment(
      `Host box
  HostName Box.Example
  Port 2222
  User ada
  IdentityFile ~/keys/%r@%h-%p
  IdentityFile \${KEYS}/a%%b
  IdentitiesOnly yes
  HostKeyAlias box-alias
  UserKnownHostsFile /a/known "/b/with space/known"
  GlobalKnownHostsFile none
  StrictHostKeyChecking accept-new
  ConnectTimeout 7
  AddressFamily inet
  HashKnownHosts yes
`,
      { authSock: '/agent' },
    );
    const home = userInfo().homedir;
    expect(await resolveHost('box', env)).toMatchObject({
      host: 'box.example',
      port: 2222,
      user: 'ada',
      identityFiles: [`${home}/keys/ada@box.example-2222`, '/keys/a%b'],
      identitiesOnly: true,
      identityAgent: '/agent',
      hostKeyAlias: 'box-alias',
      userKnownHostsFiles: ['/a/known', '/b/with space/known'],
      globalKnownHostsFiles: [],
      strictHostKeyChecking: 'accept-new',
      connectTimeoutMs: 7000,
      addressFamily: 4,
      hashKnownHosts: true,
      jumps: [],
      beyondUs: [],
    });
  });

  it('takes user and port of the target before those of the configuration', async () => {
    const env = await environment('Host *\n  User ada\n  Port 2222\n');
    expect(await resolveHost('bob@box:33', env)).toMatchObject({ user: 'bob', port: 33 });
  });

  it.each([
    ['none', undefined],
    ['SSH_AUTH_SOCK', '/agent'],
    ['$KEYS', '/keys'],
    ['/own/%r', '/own/ada'],
  ])('IdentityAgent %s', async (value, expected) => {
    const env = await environment(`Host *\n  User ada\n  IdentityAgent ${value}\n`, { authSock: '/agent' });
    expect((await resolveHost('box', env)).identityAgent).toBe(expected);
  });

  it('resolves a chain of hops, the first by its own configuration', async () => {
    const env = await environment(`
Host far
  ProxyJump ada@mid:1001,near
Host mid
  HostName mid.example
  ProxyJump first
Host near
  HostName near.example
  ProxyJump ignored
Host first
  User eve
`);
    const { jumps } = await resolveHost('far', env);
    expect(jumps.map((hop) => `${hop.host}:${hop.port}`)).toEqual([
      'first:22',
      'mid.example:1001',
      'near.example:22',
    ]);
    expect(jumps.map((hop) => hop.user).slice(0, 2)).toEqual(['eve', 'ada']);
    expect(jumps.every((hop) => hop.jumps.length === 0)).toBe(true);
  });

  it('a circle of hops is an error', async () => {
    const env = await environment('Host box\n  ProxyJump cox\nHost cox\n  ProxyJump box\n');
    await expect(resolveHost('box', env)).rejects.toMatchObject({
      code: 'ssh_config_invalid',
      details: { hint: expect.stringContaining('ProxyJump none') },
    });
  });

  it('a configuration that ssh refuses is an error that says what ssh said', async () => {
    const env = await environment('Host *\n  NoSuchOption 1\n');
    await expect(resolveHost('box', env)).rejects.toMatchObject({
      code: 'ssh_config_invalid',
      message: expect.stringContaining('nosuchoption'),
    });
    await expect(resolveHost('box', { ...env, configPath: join(dir, 'none') })).rejects.toMatchObject({
      code: 'ssh_config_invalid',
    });
  });

  it('names the options that only the system ssh can honour', async () => {
    const env = await environment('Host *\n  ProxyCommand nc %h %p\n  CertificateFile /c\n');
    expect((await resolveHost('box', env)).beyondUs).toEqual(['proxycommand', 'certificatefile']);
  });
});

describe('a configured name', () => {
  it.each([
    ['written down', 'box', true],
    ['matched by a pattern', 'gpu-7', true],
    ['matched only by everything', 'other', false],
    ['that is a part of a value for everyone', 'ada', false],
  ])('%s', async (_what, name, expected) => {
    const env = await environment(
      'Host box\n  Port 2222\nHost gpu-*\n  User root\nHost *\n  User ada\n  HostName %h.example\n',
    );
    expect(await isConfigured(name, env)).toBe(expected);
  });
});
