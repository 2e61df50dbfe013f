import { type HostKey, readHostKey } from '../../../controller/src/ssh/host-key.ts';
import { KnownHosts } from '../../../controller/src/ssh/known-hosts.ts';
import { readAnswer } from '../../../controller/src/ssh/resolve.ts';
import { parseTarget, showTarget } from '../../../controller/src/ssh/target.ts';
import { bytesOf, check, refusedOr, type Target, textOf } from '../target.ts';

const base64 = 'AAAAC3NzaC1lZDI1NTE5AAAAIE3nKfYdN8mZ4r0n3u1c7o2Qv5a9X6bJ8kL0wT4sYhRp';
const key = readHostKey(Buffer.from(base64, 'base64')) as HostKey;
const other: HostKey = { type: key.type, blob: Buffer.from(key.blob).fill(1, 30) };
const lines = [
  `box ssh-ed25519 ${base64} a comment`,
  `[box]:2222,10.0.0.?,*.example,!no.example ssh-ed25519 ${base64}`,
  `|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-ed25519 ${base64}`,
  `@revoked box ssh-ed25519 ${base64}`,
  `@cert-authority *.example ssh-ed25519 ${base64}`,
  '# a comment',
];

/** A file of known hosts never vouches for a key that is not in it, and a revoked one is never accepted. */
export const knownHostsTarget: Target = {
  name: 'known_hosts',
  weight: 10,
  tokens: [
    'box',
    '*',
    '?',
    '!',
    '|1|',
    '@revoked ',
    '@cert-authority ',
    '\n',
    ',',
    ' ',
    '\t',
    '\u0000',
    '\u00e9',
  ],
  seeds: () => [...lines, lines.join('\n')].map(bytesOf),
  run(bytes) {
    const text = textOf(bytes);
    const known = KnownHosts.parse([{ path: 'f', text }]);
    const names = ['box', '[box]:2222'];
    const verdict = known.lookup(names, key);
    check(known.lookup(names, other).kind !== 'match', 'a key that is in no line is known');
    if (verdict.kind === 'match') check(text.includes(base64), 'a key is known that is in no line');
    known.keyTypes(names);
    known.hasAuthority(names);
    return true;
  },
};

const answer = [
  'host box',
  'user me',
  'hostname box.example',
  'port 22',
  'identityfile ~/.ssh/id_ed25519',
  'identityfile %d/.ssh/%h-%r-%p-%C',
  'userknownhostsfile ~/.ssh/known_hosts /a path/known_hosts2',
  'identityagent SSH_AUTH_SOCK',
  'stricthostkeychecking ask',
  'kexalgorithms curve25519-sha256,ecdh-sha2-nistp256',
  'hostkeyalgorithms ssh-ed25519',
  'proxyjump me@hop:2222,[::1]:22',
  'connecttimeout 5',
  'addressfamily inet6',
].join('\n');

/** The answer of `ssh -G`: hosts, users and ports of a grammar that no shell takes apart, whatever it says. */
export const sshConfigTarget: Target = {
  name: 'ssh_config',
  weight: 8,
  tokens: [
    '%',
    '${HOME}',
    '${',
    '%d',
    '~',
    'none',
    '-oProxyCommand=x',
    '\n',
    'port ',
    'hostname ',
    'proxyjump ',
    '__proto__ x\n',
  ],
  seeds: () => [bytesOf(answer), bytesOf('hostname -x\nuser $(id)\nport 99999')],
  run(bytes) {
    const target = { host: 'box' };
    const host = refusedOr(() => readAnswer(textOf(bytes), target, { env: { HOME: '/h' } }));
    if (host === undefined) return false;
    check(Number.isInteger(host.port) && host.port >= 1 && host.port <= 65_535, 'a port is none');
    return true;
  },
};

/** A target is what writes the same again, and never an option or a piece of a shell's line. */
export const sshTargetTarget: Target = {
  name: 'ssh_target',
  weight: 4,
  tokens: ['-', '@', ':', '[', ']', '%', '$(id)', '`', ';', ' ', '\n', '\u0000', 'ssh://', '::1'],
  seeds: () => ['me@box:22', 'ssh://me@box', '[::1]:22', 'fe80::1%eth0', 'a.b@c@box'].map(bytesOf),
  run(bytes) {
    const target = refusedOr(() => parseTarget(textOf(bytes)));
    if (target === undefined) return false;
    for (const word of [target.host, target.user ?? 'u'])
      check(!/^-|[\s;&|`$(){}<>'"\\\0]/.test(word.replace(/\$$/, '')), `${JSON.stringify(word)} is no name`);
    const shown = showTarget(target);
    check(showTarget(parseTarget(shown)) === shown, 'the target is another after a round');
    return true;
  },
};
