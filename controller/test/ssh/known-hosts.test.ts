import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeKey } from '@codex-remote/test/lab';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appendKnownHost } from '../../src/ssh/accept-host-key.ts';
import { fingerprint, type HostKey, readHostKey } from '../../src/ssh/host-key.ts';
import { globMatches, KnownHosts, knownHostName } from '../../src/ssh/known-hosts.ts';

const run = promisify(execFile);
let dir: string;
let line: string;
let otherLine: string;
let ecdsaLine: string;
let key: HostKey;
let shown: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'crk-'));
  const made = await makeKey(join(dir, 'a'));
  line = made.publicLine;
  shown = made.fingerprint;
  key = hostKey(line);
  otherLine = (await makeKey(join(dir, 'b'))).publicLine;
  ecdsaLine = (await makeKey(join(dir, 'c'), { type: 'ecdsa' })).publicLine;
});

afterAll(() => rm(dir, { recursive: true, force: true }));

function hostKey(publicLine: string): HostKey {
  const read = readHostKey(Buffer.from(publicLine.split(' ')[1] ?? '', 'base64'));
  if (read === undefined) throw new Error('no key');
  return read;
}

const known = (...lines: string[]) => KnownHosts.parse([{ path: 'file', text: lines.join('\n') }]);

describe('known_hosts', () => {
  it('shows a fingerprint as ssh-keygen does', () => {
    expect(fingerprint(key)).toBe(shown);
  });

  it.each([
    ['plain', 'box'],
    ['in a list', 'a,box,c'],
    ['by wildcard', 'b?x,*.example'],
    ['in capitals', 'BOX'],
    ['by everything but another', '*,!other'],
  ])('a host named %s matches', (_how, pattern) => {
    expect(known(`${pattern} ${line}`).lookup(['box'], key)).toEqual({ kind: 'match' });
  });

  it('a negated pattern wins over a match', () => {
    expect(known(`*,!box ${line}`).lookup(['box'], key)).toEqual({ kind: 'unknown', otherTypes: [] });
  });

  it('finds a host in a file that ssh-keygen hashed, with a port too', async () => {
    const path = join(dir, 'hashed');
    await writeFile(path, `box ${line}\n[box]:2222 ${otherLine}\n`);
    await run('ssh-keygen', ['-q', '-H', '-f', path]);
    expect(await readFile(path, 'utf8')).not.toContain('box');
    const hosts = await KnownHosts.read([path]);
    expect(hosts.lookup([knownHostName('box', 22)], key)).toEqual({ kind: 'match' });
    expect(hosts.lookup([knownHostName('box', 2222)], hostKey(otherLine))).toEqual({ kind: 'match' });
    expect(hosts.lookup([knownHostName('box', 2222)], key).kind).toBe('changed');
  });

  it('another key of the same type is a change, one of another type is unknown', () => {
    const hosts = known(`box ${otherLine}`);
    expect(hosts.lookup(['box'], key)).toEqual({
      kind: 'changed',
      places: ['file:1'],
      known: [fingerprint(hostKey(otherLine))],
    });
    expect(hosts.lookup(['box'], hostKey(ecdsaLine))).toEqual({
      kind: 'unknown',
      otherTypes: ['ssh-ed25519'],
    });
    expect(hosts.keyTypes(['box'])).toEqual(['ssh-ed25519']);
  });

  it('one of several keys for a host is enough', () => {
    expect(known(`box ${otherLine}`, `box ${line}`).lookup(['box'], key)).toEqual({ kind: 'match' });
  });

  it('a revoked key is refused although another line knows it [row 104]', () => {
    expect(known(`box ${line}`, `@revoked * ${line}`).lookup(['box'], key)).toEqual({
      kind: 'revoked',
      places: ['file:2'],
    });
  });

  it('a certificate authority vouches for no plain key', () => {
    const hosts = known(`@cert-authority *.example ${line}`);
    expect(hosts.lookup(['a.example'], key).kind).toBe('unknown');
    expect(hosts.hasAuthority(['a.example'])).toBe(true);
    expect(hosts.keyTypes(['a.example'])).toEqual([]);
  });

  it('a key known without the port counts when nothing is known with it, and cannot say that it changed', () => {
    const names = ['[box]:2222', 'box'];
    expect(known(`box ${line}`).lookup(names, key)).toEqual({ kind: 'match' });
    expect(known(`box ${otherLine}`).lookup(names, key).kind).toBe('unknown');
    expect(known(`[box]:2222 ${otherLine}`, `box ${line}`).lookup(names, key).kind).toBe('changed');
  });

  it('a file that is missing is empty, one that cannot be read is an error', async () => {
    expect((await KnownHosts.read([join(dir, 'none')])).lookup(['box'], key).kind).toBe('unknown');
    await expect(KnownHosts.read([dir])).rejects.toMatchObject({ code: 'ssh_config_invalid' });
  });

  it('never throws and never matches by accident, whatever the file holds', () => {
    const word = fc.oneof(
      fc.constantFrom(
        'box',
        '|1|AAAA|BBBB',
        '|1||',
        '|1|a|b|c',
        '@revoked',
        '@cert-authority',
        '@x',
        'ssh-ed25519',
        'ssh-rsa',
        'AAAAC3NzaC1lZDI1NTE5',
        '#',
        '!',
        '*',
      ),
      fc.string({ maxLength: 12 }),
      fc.string({ unit: 'binary', maxLength: 12 }),
    );
    fc.assert(
      fc.property(fc.array(fc.array(word, { maxLength: 5 }), { maxLength: 5 }), (lines) => {
        const hosts = known(...lines.map((words) => words.join(' ')));
        expect(hosts.lookup(['[box]:22', 'box'], key).kind).toBe('unknown');
        hosts.keyTypes(['box']);
        hosts.hasAuthority(['box']);
      }),
    );
  });

  it('globs as a regular expression would', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 8 });
    const glob = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?'), maxLength: 8 });
    fc.assert(
      fc.property(glob, text, (pattern, name) => {
        const expected = new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`).test(name);
        expect(globMatches(pattern, name)).toBe(expected);
      }),
    );
  });
});

describe('appending an accepted key', () => {
  it.each([false, true])('writes a 0600 file that OpenSSH reads, hashed: %s', async (hashed) => {
    const path = join(dir, `new-${hashed}`, 'known_hosts');
    await appendKnownHost(path, '[box]:2222', key, hashed);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const { stdout } = await run('ssh-keygen', ['-l', '-F', '[box]:2222', '-f', path]);
    expect(stdout).toContain(shown);
    expect((await readFile(path, 'utf8')).includes('box')).toBe(!hashed);
  });

  it('begins a line of its own after one without an end', async () => {
    const path = join(dir, 'joint');
    await writeFile(path, `other ${otherLine}`);
    await appendKnownHost(path, 'box', key, false);
    const hosts = await KnownHosts.read([path]);
    expect(hosts.lookup(['box'], key).kind).toBe('match');
    expect(hosts.lookup(['other'], hostKey(otherLine)).kind).toBe('match');
  });
});
