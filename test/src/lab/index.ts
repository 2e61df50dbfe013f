/**
 * What tests share: real parts of a small world that one can start, break and remove. May use Node and the packages
 * below the programs; must not import controller or agent (their tests import it).
 */
export { BlackholePort } from './blackhole-port.ts';
export { type Certificate, selfSigned } from './certificate.ts';
export { Cli, type CliOptions, type CliResult, cliProgram } from './cli.ts';
export { ConnectProxy, type ConnectProxyOptions } from './connect-proxy.ts';
export { LoginUser, type LoginUserOptions } from './login-user.ts';
export { LonelyHost, type LonelyResult } from './lonely-host.ts';
export { type Ability, lacks, needs, type Skippable } from './needs.ts';
export { PastedHome } from './pasted-home.ts';
export { ProcessLists } from './process-lists.ts';
export { Release } from './release.ts';
export { fullSize, sized } from './size.ts';
export { SmallDisk } from './small-disk.ts';
export { answering, KeyAgent, type KeyPair, type KeyType, makeKey } from './ssh-keys.ts';
export { SshLab, type SshLabOptions } from './ssh-lab.ts';
export { freePort, Sshd, type SshdOptions } from './sshd.ts';
export { TcpProxy } from './tcp-proxy.ts';
export { UserManager } from './user-manager.ts';
export { waitFor } from './wait-for.ts';
