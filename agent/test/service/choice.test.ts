import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { chooseService } from '../../src/service/choice.ts';
import { StubPrograms } from '../support/stub-programs.ts';

let stubs: StubPrograms;
beforeEach(() => {
  stubs = new StubPrograms();
});
afterEach(() => stubs.close());

/** A machine that systemd has booted, with a manager for the user. */
function systemd(version = '252 (252.38-1~deb12u1)'): void {
  stubs.add(
    'systemctl',
    `case "$*" in
      --version) echo 'systemd ${version}'; echo '+PAM +AUDIT' ;;
      '--user show-environment') echo "HOME=$here/there"; echo 'LANG=C.UTF-8' ;;
    esac`,
  );
}

/** logind: linger is on when the file `linger` is there, and can be turned on by whoever \`may\`. */
function logind(may: 'anybody' | 'by name' | 'nobody', kills = 'no'): void {
  stubs.add(
    'loginctl',
    `case "$*" in
      *Linger*) if [ -e "$here/linger" ]; then echo yes; else echo no; fi ;;
      *KillUserProcesses*) echo ${kills} ;;
      '--no-ask-password enable-linger') ${may === 'anybody' ? ': >"$here/linger"' : 'exit 1'} ;;
      *'enable-linger '*) ${may === 'by name' ? ': >"$here/linger"' : 'exit 1'} ;;
    esac`,
  );
}

const asked = (): string[] => stubs.calls().filter((call) => call.includes('enable-linger'));

describe('what keeps an agent on Linux', () => {
  test('is a user unit where linger is on already, and nothing is asked for', async () => {
    systemd();
    logind('nobody');
    stubs.add('touch-linger', ': >"$here/linger"');
    await stubs.host().run(['touch-linger']);
    expect(await chooseService(stubs.host())).toMatchObject({
      kind: 'systemd',
      manager: { units: `${stubs.dir}/there/.config/systemd/user` },
      survives: { logout: 'yes', reboot: 'yes', crash: 'yes' },
      warnings: [],
    });
    expect(asked()).toEqual([]);
  });

  test.each(['anybody', 'by name'] as const)(
    'is a user unit where linger can be turned on (%s)',
    async (may) => {
      systemd();
      logind(may);
      expect(await chooseService(stubs.host())).toMatchObject({ kind: 'systemd' });
      expect(asked()).toEqual(
        [
          'loginctl --no-ask-password enable-linger',
          `loginctl --no-ask-password enable-linger ${stubs.user}`,
        ].slice(0, may === 'anybody' ? 1 : 2),
      );
    },
  );

  test.each([
    ['255 (255.4-1ubuntu8.17)', 'unknown'],
    ['256 (256.2-1)', 'unknown'],
    ['256 (256.10-1)', 'yes'],
    ['254 (254.5)', 'yes'],
    ['257', 'yes'],
  ])('[row 30] under systemd %s survives a logout: %s', async (version, logout) => {
    systemd(version);
    logind('anybody');
    const choice = await chooseService(stubs.host());
    expect(choice).toMatchObject({ kind: 'systemd', survives: { logout, reboot: 'yes' } });
    expect(choice.warnings.join()).toMatch(logout === 'yes' ? /^$/ : /logout in spite of linger/);
  });

  test('[row 30] is its own process where linger is refused, with a warning where logind ends users’ processes', async () => {
    systemd();
    logind('nobody', 'yes');
    const choice = await chooseService(stubs.host());
    expect(choice).toMatchObject({
      kind: 'detached',
      survives: { logout: 'no', reboot: 'no', crash: 'yes' },
      note: expect.stringContaining('linger is off'),
    });
    expect(choice.warnings).toEqual([expect.stringContaining('sudo loginctl enable-linger')]);
  });

  test('is its own process where linger is refused, and survives a logout where logind ends nothing', async () => {
    systemd();
    logind('nobody', 'no');
    expect(await chooseService(stubs.host())).toMatchObject({
      kind: 'detached',
      survives: { logout: 'yes' },
      warnings: [],
    });
  });

  test.each([
    ['no systemd at all', () => undefined],
    ['a systemd without a manager for the user', () => stubs.add('systemctl', 'exit 1')],
    ['a systemd too old for what a unit needs', () => systemd('239 (239-82.el8)')],
  ])('is its own process with %s', async (_what, install) => {
    install();
    expect(await chooseService(stubs.host())).toMatchObject({ kind: 'detached' });
  });

  test('is what the environment says, without asking anybody', async () => {
    systemd();
    logind('anybody');
    const env = { CODEX_REMOTE_AGENT_SERVICE: 'detached' };
    expect(await chooseService(stubs.host({ env }))).toMatchObject({ kind: 'detached' });
    expect(asked()).toEqual([]);
  });
});

describe('what keeps an agent on macOS', () => {
  const domains = (...known: string[]): void =>
    stubs.add(
      'launchctl',
      `case "$2" in ${known.map((domain) => `${domain}/*`).join('|')}) ;; *) exit 113 ;; esac`,
    );

  test('is launchd, in the login at the screen where there is one', async () => {
    domains('gui', 'user');
    const host = stubs.host({ platform: 'darwin' });
    expect(await chooseService(host)).toMatchObject({
      kind: 'launchd',
      domain: `gui/${host.uid}`,
      survives: { logout: 'no', crash: 'yes' },
    });
  });

  test('is launchd without a screen, where only SSH leads to it', async () => {
    domains('user');
    const host = stubs.host({ platform: 'darwin' });
    expect(await chooseService(host)).toMatchObject({ kind: 'launchd', domain: `user/${host.uid}` });
  });

  test('is its own process where launchd does not answer', async () => {
    domains('none');
    expect(await chooseService(stubs.host({ platform: 'darwin' }))).toMatchObject({ kind: 'detached' });
  });
});
