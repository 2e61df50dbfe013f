import { spawnSync } from 'node:child_process';

/** What a machine may lack, and the program that tells. Each is tried, never guessed from a version. */
const abilities = {
  root: ['sh', '-c', '[ "$(id -u)" = 0 ]'],
  /** A mount namespace with file systems of our own. */
  'mount namespaces': ['unshare', '-Urm', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'],
  'network namespaces': ['unshare', '-Urn', 'true'],
  /** Named ones, with a link between them and us. */
  'veth links': [
    'sh',
    '-c',
    '[ "$(id -u)" = 0 ] && ip link add crt0-$$ type veth peer name crt1-$$ && ip link delete crt0-$$ && ip netns list',
  ],
  /** Its own /proc, and the next pid can be chosen in it. */
  'pid namespaces': [
    'unshare',
    '-Urpf',
    '--mount-proc',
    'sh',
    '-c',
    'echo 100 >/proc/sys/kernel/ns_last_pid',
  ],
  'time namespaces': ['unshare', '-UrT', '--boottime', '86400', 'true'],
  prlimit: ['prlimit', '--nofile=64', 'true'],
  'systemd-analyze': ['systemd-analyze', '--version'],
  /** One that we start ourselves, in a mount namespace where the system seems to have been booted by systemd. */
  'a user manager of systemd': [
    'sh',
    '-c',
    '[ "$(id -u)" = 0 ] && [ -x /lib/systemd/systemd ] && unshare -m sh -c "mount -t tmpfs tmpfs /run/systemd"',
  ],
  'useradd(8)': ['sh', '-c', '[ "$(id -u)" = 0 ] && command -v useradd'],
} as const satisfies Record<string, readonly [string, ...string[]]>;

export type Ability = keyof typeof abilities;

const found = new Map<Ability, string | undefined>();

/** Why this machine cannot do it; undefined where it can. */
export function lacks(ability: Ability): string | undefined {
  if (!found.has(ability)) found.set(ability, attempt(ability));
  return found.get(ability);
}

function attempt(ability: Ability): string | undefined {
  const [program, ...args] = abilities[ability];
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8', timeout: 10_000 });
  if (status === 0) return undefined;
  const said = error?.message ?? stderr.trim().split('\n').at(-1);
  return `this machine has no ${ability}: ${said || `${program} exits with ${status}`}`;
}

/** The part of a test's context that this needs. */
export interface Skippable {
  skip(reason: string): never;
}

/** First line of a test that needs them: skips it with the reason, and fails where nothing may be skipped (`CI=true`). */
export function needs(test: Skippable, ...wanted: Ability[]): void {
  for (const ability of wanted) {
    const reason = lacks(ability);
    if (reason === undefined) continue;
    if (process.env.CI === 'true') throw new Error(`nothing may be skipped here, and ${reason}`);
    test.skip(reason);
  }
}
