import { spawn } from 'node:child_process';
import { systemClock } from '@codex-remote/platform';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { ChildProcess, LocalTransport } from '../../src/ssh/local-transport.ts';
import { sanitise } from '../../src/ssh/remote-text.ts';
import { loader, runScript } from '../../src/ssh/script.ts';
import type { HostTransport } from '../../src/ssh/transport.ts';

const local = new LocalTransport(process.env);
const clock = systemClock;

/** A machine whose login shell is `shell` and whose rc file is `rc`. */
function machine(shell: string[], rc = ''): HostTransport {
  return {
    kind: 'local',
    description: shell.join(' '),
    exec: async (line) => {
      const [program = '/bin/sh', ...words] = shell;
      return new ChildProcess(spawn(program, [...words, '-c', `${rc}${line}`], { stdio: 'pipe' }));
    },
    ping: async () => undefined,
    closed: new Promise(() => undefined),
    close: async () => undefined,
  };
}

afterEach(() => local.close());

describe('a script on a machine', () => {
  it.each([['bash'], ['dash'], ['busybox', 'sh']])(
    'is read by /bin/sh whatever the login shell is: %s',
    async (...shell) => {
      const report = await runScript(machine(shell), 'IFS= read -r a\nsay a "$a"\nsay rest "$(cat)"', {
        clock,
        params: ['x y'],
        input: [Buffer.from('bulk')],
      });
      expect(report.get('a')).toBe('x y');
      expect(report.get('rest')).toBe('bulk');
    },
  );

  it('may itself be run by any of them', async () => {
    for (const shell of ['dash', 'bash', 'busybox sh']) {
      const report = await runScript(
        { ...machine(['dash']), exec: async () => machine(['dash']).exec(loader.replace('/bin/sh', shell)) },
        'n=0\nwhile [ "$n" -lt 3 ]; do n=$((n + 1)); done\nsay n "$n"',
        { clock },
      );
      expect(report.get('n')).toBe('3');
    }
  });

  it('is told apart from noise before, between and without line ends, on both streams [row 105]', async () => {
    const rc = `printf 'noise'; printf 'more noise' >&2; (for i in 1 2 3; do echo "late $i"; done) & wait; `;
    const report = await runScript(
      machine(['bash'], rc),
      `echo "mine not"\nsay key value\nprintf tail\necho said >&2`,
      { clock },
    );
    expect(report.get('key')).toBe('value');
    expect(report.get('late')).toBeUndefined();
    expect(report.stderr).toBe('said');
  });

  it('gets every parameter as it is [row 92]', async () => {
    const word = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((text) => !/[\n\r\0]/.test(text));
    await fc.assert(
      fc.asyncProperty(fc.array(word, { minLength: 1, maxLength: 3 }), async (params) => {
        const script = params.map(() => 'IFS= read -r p\nsay p "$p"').join('\n');
        const report = await runScript(local, script, { clock, params });
        expect(report.all('p')).toEqual(params);
      }),
      { numRuns: 25 },
    );
  });

  it('never gets a parameter with a line break', async () => {
    await expect(runScript(local, 'say x', { clock, params: ['a\nb'] })).rejects.toMatchObject({
      code: 'usage',
    });
  });

  it('that is silent for too long is ended', async () => {
    const began = performance.now();
    await expect(
      runScript(local, 'say began\nexec sleep 1000', { clock, idleMs: 200 }),
    ).rejects.toMatchObject({ code: 'bootstrap_failed' });
    expect(performance.now() - began).toBeLessThan(5_000);
  });

  it('that talks without end is not kept in memory and not believed', async () => {
    const report = await runScript(
      local,
      'i=0\nwhile [ "$i" -lt 20000 ]; do say line "0123456789012345678901234567890123456789"; i=$((i + 1)); done\nsay last',
      { clock },
    );
    expect(report.all('line').length).toBeLessThan(10_000);
    expect(report.get('last')).toBeUndefined();
  });

  it('that is not wanted any more is ended', async () => {
    const caller = new AbortController();
    const running = runScript(local, 'exec sleep 1000', { clock, signal: caller.signal });
    caller.abort();
    await expect(running).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('does not wait for input that nobody reads', async () => {
    const endless = (async function* () {
      for (;;) yield Buffer.alloc(64 * 1024);
    })();
    const report = await runScript(local, 'say done', { clock, input: endless });
    expect(report.exit).toEqual({ code: 0 });
  });

  it('reports its exit code', async () => {
    expect((await runScript(local, 'say x\nexit 255', { clock })).exit).toEqual({ code: 255 });
  });
});

describe('what a machine said', () => {
  it('is shown without escapes and controls [row 97]', () => {
    expect(sanitise('\u001b[31mred\u001b[0m \u001b]0;title\u0007x\r\ny\u0000\u0007\u202ez')).toBe(
      'red x\nyz',
    );
  });

  it('is never longer than 2 kB and never holds a control character', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 8000 }), (text) => {
        const plain = sanitise(text);
        expect(Buffer.byteLength(plain)).toBeLessThanOrEqual(2000);
        expect(plain).not.toMatch(/[^\P{Cc}\n\t]/u);
      }),
    );
    expect(Buffer.byteLength(sanitise('ä'.repeat(5000)))).toBeLessThanOrEqual(2000);
  });
});
