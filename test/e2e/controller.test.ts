import { readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Cli, waitFor } from '@codex-remote/test/lab';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

/** Pids of controllers of one home, by what the kernel says they were started with. */
async function controllersOf(home: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const [line, environ] = await Promise.all(
      ['cmdline', 'environ'].map((file) => readFile(`/proc/${name}/${file}`, 'utf8').catch(() => '')),
    );
    if (line?.includes('controller.mjs') && environ?.includes(`CODEX_REMOTE_HOME=${home}\0`))
      found.push(Number(name));
  }
  return found;
}

describe('the controller comes and goes without being asked for', () => {
  let cli: Cli;
  beforeEach(async () => {
    cli = await Cli.open();
  });
  afterEach(() => cli.close());

  test('of eight commands at once that find none, one controller is the outcome', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => cli.json(['machine', 'list'])));
    expect(answers).toEqual(
      Array.from({ length: 8 }, () => expect.objectContaining({ ok: true, machines: [] })),
    );
    const pid = await cli.controllerPid();
    await waitFor('the others to be gone', async () => (await controllersOf(cli.home)).length === 1);
    expect(await controllersOf(cli.home)).toEqual([pid]);
  });

  test('after kill -9 the next command starts another: the lock is free and the dead socket is no obstacle [row 101]', async () => {
    await cli.json(['controller', 'start']);
    const before = await cli.controllerPid();
    if (before === undefined) throw new Error('no controller runs');
    process.kill(before, 'SIGKILL');
    await waitFor('its end', async () => (await controllersOf(cli.home)).length === 0);
    await cli.json(['machine', 'list']);
    expect(await cli.controllerPid()).not.toBe(before);
  });

  test('stop ends it, and stopping what does not run is no error', async () => {
    await cli.json(['controller', 'start']);
    expect(await cli.json(['controller', 'stop'])).toMatchObject({ ok: true, running: false });
    await waitFor('its end', async () => (await controllersOf(cli.home)).length === 0);
    expect(await cli.json(['controller', 'status'])).toMatchObject({ running: false });
    expect(await cli.json(['controller', 'stop'])).toMatchObject({ ok: true, running: false });
  });

  test('nobody else can reach its files, whatever the umask of its starter [row 100]', async () => {
    await cli.run(['controller', 'start'], {});
    for (const name of ['run', 'state', 'config']) {
      expect((await stat(join(cli.home, name))).mode & 0o777).toBe(0o700);
      for (const file of await readdir(join(cli.home, name), { withFileTypes: true })) {
        const mode = (await stat(join(cli.home, name, file.name))).mode & 0o777;
        expect(`${file.name} ${(mode & 0o077).toString(8)}`).toBe(`${file.name} 0`);
      }
    }
  });

  test('a file in the place of its socket is left alone, and said [row 101]', async () => {
    await cli.json(['controller', 'start']);
    await cli.json(['controller', 'stop']);
    await waitFor('its end', async () => (await controllersOf(cli.home)).length === 0);
    await writeFile(join(cli.home, 'precious'), 'mine');
    await symlink(join(cli.home, 'precious'), join(cli.home, 'run/api.sock'));
    const result = await cli.run(['machine', 'list'], { timeoutMs: 40_000 });
    expect(result.status).toBe(1);
    expect(JSON.parse(result.stdout.toString())).toMatchObject({
      ok: false,
      error: { code: expect.any(String), hint: expect.any(String) },
    });
    expect(await readFile(join(cli.home, 'precious'), 'utf8')).toBe('mine');
  });

  test('a registry that cannot be read is an error that names it, never an empty list', async () => {
    await cli.json(['machine', 'add', 'box', '--ssh', 'u@192.0.2.1']);
    await cli.json(['controller', 'stop']);
    await waitFor('its end', async () => (await controllersOf(cli.home)).length === 0);
    await writeFile(join(cli.home, 'config/registry.json'), '{"version":1,"machines":[{"na');
    const result = await cli.run(['machine', 'list'], { timeoutMs: 40_000 });
    expect(result.status).toBe(1);
    expect(result.stdout.toString()).toContain('registry.json');
  });
});
