import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { makeFolder } from '../../src/files/folders.ts';
import { removeFile } from '../../src/files/remove-file.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'remove-'));
  mkdirSync(join(dir, 'home/u'), { recursive: true });
});
afterEach(() => rmSync(dir, { recursive: true }));

const here = (name: string): string => join(dir, name);
const remove = (path: string, recursive = false, goesOn: () => void = () => undefined) =>
  removeFile({ path: Buffer.from(path), recursive, home: here('home/u') }, goesOn);

describe('removing', () => {
  test('takes a file, a FIFO and an empty folder; a full one only with all that is in it', async () => {
    writeFileSync(here('f'), '');
    execFileSync('mkfifo', [here('fifo')]);
    mkdirSync(here('empty'));
    expect(await remove(here('f'))).toEqual({ path: here('f'), type: 'file', removed: 1 });
    expect(await remove(here('fifo'))).toMatchObject({ type: 'fifo' });
    expect(await remove(here('empty/'))).toMatchObject({ type: 'directory', removed: 1 });
    mkdirSync(here('full/a/b'), { recursive: true });
    for (const name of ['full/x', 'full/a/y', 'full/a/b/z\n']) writeFileSync(here(name), '');
    writeFileSync(Buffer.concat([Buffer.from(here('full/')), Buffer.from([0xff])]), '');
    await expect(remove(here('full'))).rejects.toMatchObject({ code: 'directory_not_empty' });
    expect(await remove(here('full'), true)).toMatchObject({ type: 'directory', removed: 7 });
    expect(readdirSync(dir)).toEqual(['home']);
  });

  test('never follows a link, neither its own nor one below', async () => {
    mkdirSync(here('kept'));
    writeFileSync(here('kept/f'), '');
    symlinkSync('kept', here('link'));
    mkdirSync(here('d'));
    symlinkSync('../kept', here('d/link'));
    await expect(remove(here('link/'))).rejects.toMatchObject({ code: 'not_directory' });
    expect(await remove(here('link'), true)).toMatchObject({ type: 'symlink', removed: 1 });
    await remove(here('d'), true);
    expect([readdirSync(dir).sort(), readdirSync(here('kept'))]).toEqual([['home', 'kept'], ['f']]);
  });

  test('is led nowhere by a folder that becomes a link meanwhile', async () => {
    mkdirSync(here('kept'));
    mkdirSync(here('d/sub'), { recursive: true });
    for (let i = 0; i < 20; i++)
      for (const folder of ['d/sub', 'kept']) writeFileSync(here(`${folder}/${i}`), '');
    let steps = 0;
    const swap = (): void => {
      steps += 1;
      if (steps !== 5) return;
      renameSync(here('d/sub'), here('aside'));
      symlinkSync('../kept', here('d/sub'));
    };
    await expect(remove(here('d'), true, swap)).rejects.toMatchObject({ code: expect.any(String) });
    expect(readdirSync(here('kept'))).toHaveLength(20);
  });

  test.each(['/', '//', '.', '..', 'home/u', 'home/u/', 'home', 'home/../home/u', 'link-home'])(
    'of %s is refused',
    async (name) => {
      symlinkSync('.', here('way'));
      const path = name.startsWith('/') ? name : name === 'link-home' ? here('way/home/u') : `${dir}/${name}`;
      await expect(remove(path, true)).rejects.toMatchObject({ code: 'file_not_permitted' });
      expect(existsSync(here('home/u'))).toBe(true);
    },
  );

  test('of what is not there, or on the way to nothing, has its code', async () => {
    writeFileSync(here('f'), '');
    await expect(remove(here('nothing'))).rejects.toMatchObject({ code: 'file_not_found' });
    await expect(remove(here('f/x'))).rejects.toMatchObject({ code: 'not_directory' });
    await expect(remove(here('f/'))).rejects.toMatchObject({ code: 'not_directory' });
  });

  test('stops when nobody waits for it any more, and says how much is gone', async () => {
    mkdirSync(here('d'));
    for (let i = 0; i < 10; i++) writeFileSync(here(`d/${i}`), '');
    let left = 4;
    const gone = (): void => {
      left -= 1;
      if (left < 0) throw new RemoteError('cancelled', 'gone');
    };
    await expect(remove(here('d'), true, gone)).rejects.toMatchObject({
      code: 'cancelled',
      details: { facts: { removed: 4 } },
    });
    expect(readdirSync(here('d'))).toHaveLength(6);
  });

  const allowed = spawnSync('unshare', ['-Urm', 'true']).status === 0;
  test.skipIf(!allowed)('leaves what is mounted there', () => {
    mkdirSync(here('d/mounted'), { recursive: true });
    const program = `import { removeFile } from ${JSON.stringify(join(import.meta.dirname, '../../src/files/remove-file.ts'))};
      const order = { path: Buffer.from(process.argv[1] + '/d'), recursive: true, home: '/root' };
      await removeFile(order, () => {}).catch((error) => console.log(error.code));`;
    const script = `mount -t tmpfs none "$1/d/mounted" && touch "$1/d/mounted/f" && "$2" --input-type=module-typescript -e "$3" "$1"; ls "$1/d/mounted"`;
    const output = execFileSync(
      'unshare',
      ['-Urm', 'sh', '-c', script, 'sh', dir, process.execPath, program],
      {
        encoding: 'utf8',
      },
    );
    expect(output).toBe('file_failed\nf\n');
  });
});

describe('making a folder', () => {
  const make = (name: string, parents = false, mode?: number) =>
    makeFolder({ path: Buffer.from(here(name)), parents, mode, umask: 0o027 });
  const modeOf = (name: string): number => statSync(here(name)).mode & 0o7777;

  test('gives it what the umask leaves, or the mode that was said; folders on the way get the usual one', async () => {
    expect(await make('a')).toEqual({ path: here('a'), mode: 0o750, created: true });
    expect(await make('b/c/d/', true, 0o1777)).toEqual({ path: here('b/c/d'), mode: 0o1777, created: true });
    expect([modeOf('b'), modeOf('b/c'), modeOf('b/c/d')]).toEqual([0o750, 0o750, 0o1777]);
  });

  test('hands on that entries belong to the group of the folder', async () => {
    mkdirSync(here('shared'));
    chmodSync(here('shared'), 0o2770);
    expect(await make('shared/x')).toMatchObject({ mode: 0o2750 });
  });

  test('where something is there is file_exists; with parents a folder is as good, a file is not', async () => {
    writeFileSync(here('f'), '');
    await expect(make('home')).rejects.toMatchObject({ code: 'file_exists' });
    expect(await make('home', true)).toMatchObject({ created: false });
    await expect(make('f', true)).rejects.toMatchObject({ code: 'file_exists' });
    await expect(make('f/x', true)).rejects.toMatchObject({ code: 'not_directory' });
    await expect(make('no/x')).rejects.toMatchObject({ code: 'file_not_found' });
    expect(await Promise.all(Array.from({ length: 10 }, () => make('many/of/them', true)))).toHaveLength(10);
  });
});
