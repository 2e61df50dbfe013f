import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { joinTokenMs } from '../../../controller/src/enrolment/join-tokens.ts';
import { needs } from '../lab/needs.ts';
import { InvitingLab } from './invited-host.ts';

const programs = Object.fromEntries(['dash', 'bash', 'busybox'].map((name) => [name, which(name)])) as Record<
  'dash' | 'bash' | 'busybox',
  string
>;

function which(name: string): string {
  return execFileSync('/bin/sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim();
}

const shells: readonly (readonly [string, readonly [string, ...string[]]])[] = [
  ['dash', [programs.dash]],
  ['bash', [programs.bash, '--norc']],
  ['busybox ash', [programs.busybox, 'ash']],
];

describe('the line of an invitation', () => {
  let lab: InvitingLab;
  /** Moves ahead of the system's clock. */
  let aheadMs: number;
  beforeEach(async () => {
    aheadMs = 0;
    lab = await InvitingLab.open({ ...systemClock, wall: () => systemClock.wall() + aheadMs });
  });
  afterEach(() => lab.close());

  const tokenOf = (command: string): string => /'([0-9a-z]{20}\.[\w-]{43})'/.exec(command)?.[1] ?? '';

  function store(home: string): string[] {
    return readdirSync(join(home, '.local/share/codex-remote-agent/store')).sort();
  }

  /** In a mount namespace that has all programs but some. */
  const hide = [
    'mount -t tmpfs tmpfs /mnt && mkdir /mnt/bin && mount --bind /usr/bin /mnt/bin && mount -t tmpfs tmpfs /usr/bin',
    'cd /usr/bin && /mnt/bin/ln -s /mnt/bin/* . && /mnt/bin/rm -f $1 && cd / && shift && exec "$@"',
  ].join(' && ');
  const without = (name: string, shell: readonly [string, ...string[]]) =>
    ['unshare', '-Urm', 'sh', '-c', hide, 'sh', name, ...shell] as const;

  test.for(
    shells.flatMap(([name, shell]) =>
      (['curl', 'wget'] as const).map((tool) => [name, tool, shell] as const),
    ),
  )(
    'pasted into %s where there is %s brings runtime and agent, and gives them the token on stdin',
    async ([_name, tool, shell], context) => {
      needs(context, 'mount namespaces');
      const { command, expires_at } = await lab.invite('box');
      expect(command).not.toContain('\n');
      expect(Date.parse(expires_at) - Date.now()).toBeGreaterThan(joinTokenMs - 60_000);
      const home = lab.home();
      // First in PATH, so that the script too runs by this shell.
      const bin = lab.tools({ sh: shell[0] });
      const env = { HOME: home, PATH: `${bin}:/usr/bin:/bin` };
      const pasted = await lab.paste(without(tool === 'curl' ? 'wget' : 'curl', shell), command, env);
      expect(pasted).toEqual({ status: 0, stderr: '', stdout: '{"argv":["join"]}\n' });
      const [token, base, json] = readFileSync(join(home, 'told'), 'utf8').split('\n');
      expect(token).toBe(tokenOf(command));
      expect(base).toBe(`${home}/.local/share/codex-remote-agent`);
      expect(JSON.parse(json ?? '')).toEqual({
        machine: 'box',
        controller_id: 'c0ffee00c0ffee00',
        controller_key: expect.stringMatching(/^[\w-]{43}$/),
        url: `${lab.url.replace('https', 'wss')}/`,
        certificates: [lab.certificate.cert],
        spki_sha256: [lab.certificate.pin],
        expires_at,
      });
      expect(store(home)).toEqual([
        expect.stringMatching(/^agent-[0-9a-f]{16}$/),
        expect.stringMatching(/^node-[0-9a-f]{16}$/),
      ]);
      expect(lab.asked.map((url) => url.split('/').at(-1))).toEqual([
        'start',
        'node-linux-x64.gz',
        'agent.mjs',
        'shim.sh',
        'keeper.sh',
      ]);
      const [, secret = ''] = (token ?? '').split('.');
      expect(lab.asked.join()).not.toContain(secret);
      // Again: what is there is not fetched again.
      expect(await lab.paste(shell, command, env)).toMatchObject({ status: 0, stderr: '' });
      expect(lab.asked.slice(5).map((url) => url.split('/').at(-1))).toEqual(['start']);
      expect(readdirSync(lab.dir).filter((name) => name.startsWith('tmp.'))).toEqual([]);
    },
  );

  test.for([
    ['shasum', 'sha256sum'],
    ['openssl', 'sha256sum shasum'],
    ['busybox', 'sha256sum shasum openssl'],
  ] as const)('compares by %s where there is nothing better', async ([_tool, missing], context) => {
    needs(context, 'mount namespaces');
    const { command } = await lab.invite('box');
    const home = lab.home();
    const shell = without(missing, [programs.dash]);
    expect(await lab.paste(shell, command, usual(home))).toMatchObject({ status: 0, stderr: '' });
    lab.replaced.set('start', Buffer.from('#!/bin/sh\n'));
    expect(await lab.paste(shell, command, usual(home))).toMatchObject({ status: 1 });
  });

  test('fetches the runtime as it is where there is no gzip; a file says that it needs it', async (context) => {
    needs(context, 'mount namespaces');
    const { command } = await lab.invite('box');
    const shell = without('gzip', [programs.dash]);
    expect(await lab.paste(shell, command, usual(lab.home()))).toMatchObject({ status: 0, stderr: '' });
    expect(lab.asked.map((url) => url.split('/').at(-1))).toContain('node-linux-x64');
    const file = await lab.bundle('box');
    expect(await lab.paste(without('gzip', ['dash', file]), '', usual(lab.home()))).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('there is no gzip here'),
    });
  });

  const usual = (home: string) => ({ HOME: home, PATH: '/usr/bin:/bin' });

  test.each(['start', 'node-linux-x64.gz', 'agent.mjs', 'keeper.sh'])(
    'runs nothing of what an attacker sends in place of %s, and leaves nothing of it',
    async (name) => {
      const { command } = await lab.invite('box');
      const home = lab.home();
      const mark = join(home, 'attacked');
      lab.replaced.set(name, Buffer.from(`#!/bin/sh\ntouch ${mark}\n`));
      const pasted = await lab.paste(shells[0]?.[1] ?? ['sh'], command, usual(home));
      expect(pasted.status).toBe(1);
      expect(pasted.stderr).toMatch(/nothing (of it )?was run|did not come/);
      expect([existsSync(mark), existsSync(join(home, 'told'))]).toEqual([false, false]);
      const left = name === 'start' ? [] : store(home);
      expect(left.filter((entry) => !entry.startsWith('node-'))).toEqual([]);
    },
  );

  test('does not fill the disk with what never ends', async () => {
    const { command } = await lab.invite('box');
    const home = lab.home();
    lab.replaced.set('agent.mjs', Buffer.alloc(8 * 1024 * 1024, 'x'));
    const pasted = await lab.paste(shells[0]?.[1] ?? ['sh'], command, usual(home));
    expect(pasted).toMatchObject({ status: 1, stderr: expect.stringContaining('agent.mjs did not come') });
  });

  test('is not answered by another key, where curl can tell', async () => {
    const { command } = await lab.invite('box');
    const other = command.replaceAll(lab.certificate.pin, `${'A'.repeat(43)}=`);
    const pasted = await lab.paste(shells[0]?.[1] ?? ['sh'], other, usual(lab.home()));
    expect(pasted).toMatchObject({ status: 1, stderr: expect.stringMatching(/public key/i) });
    expect(lab.asked).toEqual([]);
  });

  test('fetches nothing after its time, and says so', async () => {
    const { command } = await lab.invite('box');
    aheadMs = joinTokenMs;
    const pasted = await lab.paste(shells[0]?.[1] ?? ['sh'], command, usual(lab.home()));
    expect(pasted).toMatchObject({ status: 1, stderr: expect.stringMatching(/404.*nothing was run/s) });
  });

  test.each(shells)(
    'as a file: sh FILE in %s brings the same, and downloads nothing',
    async (_name, shell) => {
      const file = await lab.bundle('box');
      const home = lab.home();
      const pasted = await lab.paste([...shell, file], '', usual(home));
      expect(pasted).toEqual({ status: 0, stderr: '', stdout: '{"argv":["join"]}\n' });
      expect(readFileSync(join(home, 'told'), 'utf8')).toMatch(/^[0-9a-z]{20}\.[\w-]{43}\n\//);
      expect(store(home)).toHaveLength(2);
      expect(lab.asked).toEqual([]);
    },
  );

  test('a file that was cut or changed is not run', async () => {
    const file = await lab.bundle('box');
    const whole = readFileSync(file);
    const home = lab.home();
    for (const damaged of [whole.subarray(0, -2), Buffer.concat([whole.subarray(0, -1), Buffer.from('#')])]) {
      writeFileSync(file, damaged);
      const pasted = await lab.paste(['sh', file], '', usual(home));
      expect(pasted).toMatchObject({ status: 1, stderr: expect.stringMatching(/did not come|is not what/) });
    }
    expect(existsSync(join(home, 'told'))).toBe(false);
  });

  test('says what it lacks on a host that cannot run our Node', async () => {
    const { command } = await lab.invite('box');
    const uname = lab.tools({});
    writeFileSync(join(uname, 'uname'), '#!/bin/sh\n[ "$1" = -s ] && echo Linux || echo riscv64\n', {
      mode: 0o700,
    });
    const pasted = await lab.paste(shells[0]?.[1] ?? ['sh'], command, {
      HOME: lab.home(),
      PATH: `${uname}:/usr/bin:/bin`,
    });
    expect(pasted).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('there is no Node of ours for Linux/riscv64 (runtime_unsupported)'),
    });
  });
});
