import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BootLine } from '../../src/service/boot-line.ts';
import { StubPrograms } from '../support/stub-programs.ts';

const name = 'codex-remote-agent-0123456789ab';
let stubs: StubPrograms;
beforeEach(() => {
  stubs = new StubPrograms();
});
afterEach(() => stubs.close());

/** crontab(1) over a file; `refuse` is what `-l` says in place of an answer. */
function crontab(refuse = ''): BootLine {
  const list =
    refuse === '' ? 'cat "$here/tab" 2>/dev/null || { echo "no crontab for me" >&2; exit 1; }' : refuse;
  stubs.add('crontab', `case $1 in -l) ${list} ;; -) cat >"$here/tab" ;; esac`);
  return new BootLine(stubs.host(), name);
}

describe('the boot line of an agent', () => {
  test('comes into an empty crontab and goes again', async () => {
    const line = crontab();
    expect(await line.install(['/bin/sh', '/a/keeper.sh'])).toBeUndefined();
    expect(stubs.file('tab')).toBe(`@reboot '/bin/sh' '/a/keeper.sh' >/dev/null 2>&1 # ${name}\n`);
    await line.remove();
    expect(stubs.file('tab')).toBe('');
  });

  test('that is there as it should be is not written again', async () => {
    const line = crontab();
    await line.install(['/a']);
    await line.install(['/a']);
    expect(stubs.calls().filter((call) => call === 'crontab -')).toHaveLength(1);
  });

  test('leaves a crontab alone that it may not read', async () => {
    const line = crontab('echo "you (me) are not allowed to use this program (crontab)" >&2; exit 1');
    expect(await line.install(['/a'])).toContain('not allowed');
    await line.remove();
    expect(stubs.calls()).toEqual(['crontab -l', 'crontab -l']);
  });

  test('says where there is no crontab(1)', async () => {
    expect(await new BootLine(stubs.host(), name).install(['/a'])).toBe('there is no crontab(1)');
  });

  test('says what crontab(1) says when it takes nothing', async () => {
    stubs.add('crontab', 'case $1 in -) echo "disk full" >&2; exit 1 ;; esac');
    expect(await new BootLine(stubs.host(), name).install(['/a'])).toContain('disk full');
  });
});
