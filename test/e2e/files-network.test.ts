import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Cli, SshLab, TcpProxy, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const mb = 1024 * 1024;
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('files of a machine behind SSH, over a network that breaks', () => {
  const content = randomBytes(24 * mb);
  let lab: SshLab;
  let proxy: TcpProxy;
  let cli: Cli;

  beforeAll(async () => {
    lab = await SshLab.open();
    proxy = await TcpProxy.open(lab.server.port);
    cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: await lab.configThrough(proxy) });
    await cli.json(['machine', 'up', 'box']);
    await writeFile(join(cli.home, 'source'), content);
  });
  afterAll(async () => {
    await cli?.close();
    await proxy?.close();
    await lab?.close();
  });

  const file = (verb: string, ...args: string[]) =>
    cli.json(['file', verb, '-m', 'box', ...args], 0, { timeoutMs: 90_000 });
  const there = (name: string): string => join(lab.user.home, name);
  const connected = () =>
    waitFor(
      'the machine to be connected',
      async () => (await cli.json(['machine', 'show', 'box'])).connected === true,
      60_000,
    );

  test('a write that is cut in its middle is sent again by itself: whole, once, nothing beside it [row 50]', async () => {
    await connected();
    const cut = proxy.cutAfter('up', 10 * mb);
    const writing = file('write', 'sent', '--src', 'source', '--create-only', '--mode', '0640');
    await cut;
    expect(await writing).toMatchObject({
      size: content.byteLength,
      sha256: sha256(content),
      created: true,
    });
    expect([readFileSync(there('sent')).equals(content), statSync(there('sent')).mode & 0o777]).toEqual([
      true,
      0o640,
    ]);
    await waitFor('what the first try left to be gone', () =>
      readdirSync(lab.user.home).every((name) => !name.startsWith('.cr-')),
    );
  });

  test('a read that is cut again and again goes on where it was, raw and into a file [row 50]', async () => {
    await connected();
    await writeFile(there('big'), content);
    let cut = proxy.cutAfter('down', 7 * mb);
    const raw = cli.run(['file', 'read', '-m', 'box', '--raw', 'big'], { timeoutMs: 90_000 });
    await cut;
    const { status, stdout } = await raw;
    expect([status, stdout.equals(content)]).toEqual([0, true]);
    await connected();
    cut = proxy.cutAfter('down', 11 * mb);
    const reading = file('read', 'big', '--dst', 'back');
    await cut;
    expect(await reading).toMatchObject({ sha256: sha256(content), complete: true });
    expect(readFileSync(join(cli.home, 'back')).equals(content)).toBe(true);
  });

  test('a controller that is killed in the middle of both is not seen by either [row 10]', async () => {
    await connected();
    for (const [direction, args] of [
      ['up', ['write', 'again', '--src', 'source']],
      ['down', ['read', 'big', '--dst', 'back']],
    ] as const) {
      proxy.shape(direction, { bytesPerSecond: 8 * mb });
      const reached = proxy.cutWhere(direction, 'rst', seenBytes(4 * mb));
      const [verb, ...rest] = args;
      const going = file(verb, ...rest);
      await reached;
      process.kill(Number(await cli.controllerPid()), 'SIGKILL');
      proxy.shape(direction);
      expect(await going).toMatchObject({ ok: true, sha256: sha256(content) });
      await connected();
    }
    expect(readFileSync(there('again')).equals(content)).toBe(true);
    expect(readFileSync(join(cli.home, 'back')).equals(content)).toBe(true);
  });

  test('a content that cannot be read again is not sent twice: what became of it is said, and nothing is there', async () => {
    await connected();
    const cut = proxy.cutAfter('up', 10 * mb);
    const writing = cli.json(['file', 'write', '-m', 'box', 'piped', '--src', '-'], 1, {
      input: content,
      timeoutMs: 90_000,
    });
    await cut;
    expect(await writing).toMatchObject({ error: { code: 'connection_reset', sent: 'no', machine: 'box' } });
    expect(readdirSync(lab.user.home)).not.toContain('piped');
  });
});

/** Sees so many bytes, then cuts. */
function seenBytes(count: number): (bytes: Buffer) => number | undefined {
  let left = count;
  return (bytes) => {
    left -= bytes.byteLength;
    return left < 0 ? 0 : undefined;
  };
}
