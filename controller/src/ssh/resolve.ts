import { randomBytes } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import { RemoteError } from '@codex-remote/protocol/wire';
import { askOpenssh, type SshEnvironment } from './openssh.ts';
import { parseTarget, readPort, type SshTarget, showTarget } from './target.ts';
import { expandPath, type TokenValues } from './tokens.ts';

export type StrictHostKeyChecking = 'yes' | 'ask' | 'accept-new' | 'no';

/** What OpenSSH would do for one host, by `ssh -G`. Paths are absolute. */
export interface ResolvedHost {
  /** What was asked for, before the configuration. */
  readonly target: SshTarget;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly identityFiles: readonly string[];
  readonly certificateFiles: readonly string[];
  readonly identitiesOnly: boolean;
  /** What a person may be asked for there. */
  readonly asks: { readonly interactive: boolean; readonly password: boolean };
  /** Socket of the agent to use; absent = none. */
  readonly identityAgent?: string;
  readonly userKnownHostsFiles: readonly string[];
  readonly globalKnownHostsFiles: readonly string[];
  readonly hashKnownHosts: boolean;
  readonly hostKeyAlias?: string;
  readonly strictHostKeyChecking: StrictHostKeyChecking;
  /** Options of the user's that only the system's `ssh` can honour, by name. */
  readonly beyondUs: readonly string[];
  /** 0: either. */
  readonly addressFamily: 0 | 4 | 6;
  readonly bindAddress?: string;
  readonly connectTimeoutMs?: number;
  /** Hosts to go through, in the order of connecting; a hop's own hops are in this list too, its `jumps` is empty. */
  readonly jumps: readonly ResolvedHost[];
  /** In the user's order of preference. */
  readonly algorithms: {
    readonly kex: readonly string[];
    readonly ciphers: readonly string[];
    readonly macs: readonly string[];
    readonly hostKey: readonly string[];
  };
}

/** Hosts in a chain of ProxyJump. More is a circle in the configuration. */
const maxJumps = 8;

/** Asks OpenSSH what it would do for `target`, hops included. Throws `ssh_config_invalid`. */
export async function resolveHost(
  target: SshTarget | string,
  environment: SshEnvironment,
): Promise<ResolvedHost> {
  const wanted = typeof target === 'string' ? parseTarget(target) : target;
  return resolveChain(wanted, environment, 0, true);
}

/**
 * True when the user's configuration says something about `name`: the answer for it differs from the answer for a name
 * that nobody can have written down. Throws `ssh_config_invalid`.
 */
export async function isConfigured(name: string, environment: SshEnvironment): Promise<boolean> {
  const { host } = parseTarget(name);
  const stranger = `x${randomBytes(12).toString('hex')}`;
  const [named, unnamed] = await Promise.all([
    askOpenssh(environment, [], host),
    askOpenssh(environment, [], stranger),
  ]);
  return named !== unnamed.replaceAll(stranger, host);
}

async function resolveChain(
  target: SshTarget,
  environment: SshEnvironment,
  depth: number,
  followJump: boolean,
): Promise<ResolvedHost> {
  if (depth > maxJumps) {
    throw new RemoteError(
      'ssh_config_invalid',
      `ProxyJump leads through more than ${maxJumps} hosts on the way to ${showTarget(target)}`,
      {
        hint: 'add `ProxyJump none` to the Host block of the jump host',
      },
    );
  }
  const words = [
    ...(target.port === undefined ? [] : ['-p', String(target.port)]),
    ...(target.user === undefined ? [] : ['-l', target.user]),
  ];
  const options = new Options(await askOpenssh(environment, words, target.host), target);
  const jumps: ResolvedHost[] = [];
  const jumpText = followJump ? (options.value('proxyjump') ?? '') : '';
  for (const [i, hop] of jumpText.split(',').filter(Boolean).entries()) {
    // ssh reaches the first hop by the configuration, and each further one through the one before it (`-J`).
    const resolved = await resolveChain(parseTarget(hop, 'ProxyJump'), environment, depth + 1 + i, i === 0);
    jumps.push(...resolved.jumps, { ...resolved, jumps: [] });
  }
  if (jumps.length > maxJumps) return resolveChain(target, environment, maxJumps + 1, false);
  return hostOf(target, options, jumps, jumpText, environment);
}

/** What one answer of `ssh -G` says, hops left out. Throws `ssh_config_invalid`. */
export function readAnswer(text: string, target: SshTarget, environment: SshEnvironment): ResolvedHost {
  const options = new Options(text, target);
  const jumpText = options.value('proxyjump') ?? '';
  for (const hop of jumpText.split(',').filter(Boolean)) parseTarget(hop, 'ProxyJump');
  return hostOf(target, options, [], jumpText, environment);
}

function hostOf(
  target: SshTarget,
  options: Options,
  jumps: ResolvedHost[],
  jumpText: string,
  environment: SshEnvironment,
): ResolvedHost {
  const me = userInfo();
  const host = options.value('hostname') ?? target.host;
  const user = options.value('user') ?? me.username;
  const alias = options.value('hostkeyalias');
  const tokens: TokenValues = {
    home: me.homedir,
    localUser: me.username,
    localHost: hostname(),
    uid: me.uid,
    original: target.host,
    host,
    hostKeyAlias: alias ?? host,
    port: options.port(),
    user,
    jump: jumpText,
    env: environment.env,
  };
  const paths = (texts: readonly string[]) =>
    texts.filter((text) => text !== 'none').map((text) => expandPath(text, tokens));
  const asks = (method: string) => options.value('batchmode') !== 'yes' && options.value(method) !== 'no';
  const agent = agentSocket(options.value('identityagent'), environment, tokens);
  const bindAddress = options.value('bindaddress');
  const family = options.value('addressfamily');
  const seconds = Number(options.value('connecttimeout'));
  return {
    target,
    host,
    port: options.port(),
    user,
    identityFiles: [...new Set(paths(options.values('identityfile')))],
    certificateFiles: paths(options.values('certificatefile')),
    identitiesOnly: options.value('identitiesonly') === 'yes',
    asks: { interactive: asks('kbdinteractiveauthentication'), password: asks('passwordauthentication') },
    ...(agent === undefined ? {} : { identityAgent: agent }),
    userKnownHostsFiles: paths(options.paths('userknownhostsfile')),
    globalKnownHostsFiles: paths(options.paths('globalknownhostsfile')),
    hashKnownHosts: options.value('hashknownhosts') === 'yes',
    ...(alias === undefined ? {} : { hostKeyAlias: alias }),
    strictHostKeyChecking: strictness(options.value('stricthostkeychecking')),
    beyondUs: [
      'proxycommand',
      'certificatefile',
      'knownhostscommand',
      'pkcs11provider',
      'bindinterface',
    ].filter((name) => options.value(name) !== undefined),
    addressFamily: family === 'inet' ? 4 : family === 'inet6' ? 6 : 0,
    ...(bindAddress === undefined ? {} : { bindAddress }),
    ...(seconds > 0 ? { connectTimeoutMs: seconds * 1000 } : {}),
    jumps,
    algorithms: {
      kex: options.list('kexalgorithms'),
      ciphers: options.list('ciphers'),
      macs: options.list('macs'),
      hostKey: options.list('hostkeyalgorithms'),
    },
  };
}

function agentSocket(
  value: string | undefined,
  environment: SshEnvironment,
  tokens: TokenValues,
): string | undefined {
  if (value === undefined || value === 'SSH_AUTH_SOCK') return environment.authSock || undefined;
  if (value === 'none') return undefined;
  if (value.startsWith('$') && !value.startsWith('${')) return environment.env[value.slice(1)] || undefined;
  return expandPath(value, tokens);
}

function strictness(value: string | undefined): StrictHostKeyChecking {
  if (value === 'true' || value === 'yes') return 'yes';
  if (value === 'false' || value === 'no' || value === 'off') return 'no';
  return value === 'accept-new' ? 'accept-new' : 'ask';
}

/** The lines of `ssh -G`: a keyword in lower case, a space, the value. Keywords may repeat. */
class Options {
  readonly #values = new Map<string, string[]>();
  readonly #target: SshTarget;

  constructor(text: string, target: SshTarget) {
    this.#target = target;
    for (const line of text.split('\n')) {
      const space = line.indexOf(' ');
      if (space < 1) continue;
      const key = line.slice(0, space).toLowerCase();
      this.#values.set(key, [...(this.#values.get(key) ?? []), line.slice(space + 1).trim()]);
    }
  }

  values(key: string): readonly string[] {
    return this.#values.get(key) ?? [];
  }

  /** Absent where ssh prints nothing or `none` for an option that has no value (`identityagent none` is one). */
  value(key: string): string | undefined {
    const value = this.#values.get(key)?.[0];
    return value === undefined || value === '' || (value === 'none' && key !== 'identityagent')
      ? undefined
      : value;
  }

  list(key: string): readonly string[] {
    return (this.value(key) ?? '').split(',').filter(Boolean);
  }

  /** Several paths on one line, unquoted: a word that does not begin like a path belongs to the one before it. */
  paths(key: string): readonly string[] {
    const paths: string[] = [];
    for (const word of (this.value(key) ?? '').split(' ')) {
      const last = paths.length - 1;
      if (last >= 0 && !/^[/~%$]/.test(word)) paths[last] += ` ${word}`;
      else if (word !== '') paths.push(word);
    }
    return paths;
  }

  port(): number {
    const port = readPort(this.value('port') ?? '22');
    if (port === undefined)
      throw new RemoteError(
        'ssh_config_invalid',
        `the ssh configuration gives ${showTarget(this.#target)} a port that is none`,
      );
    return port;
  }
}
