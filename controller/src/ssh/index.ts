/**
 * Reaching machines over SSH: what OpenSSH would do (`ssh -G`), known_hosts, two transports, tunnels and bridges. Knows
 * nothing of the registry, of HTTP or of what is installed where.
 */
export type { InstalledAgent } from './bridge.ts';
export { checkSsh, type SshCheck } from './check-ssh.ts';
export type { HostKeyEvent } from './host-key-policy.ts';
export { LocalTransport } from './local-transport.ts';
export { needsSystem, type OpenOptions, openTransport } from './open-transport.ts';
export type { SshEnvironment } from './openssh.ts';
export type { Ask, Question } from './question.ts';
export { isConfigured, type ResolvedHost, resolveHost } from './resolve.ts';
export { parseTarget, type SshTarget, showTarget } from './target.ts';
export type { Forwarding, HostTransport, RemoteExit, RemoteProcess } from './transport.ts';
export { Tunnel, type TunnelKind, type TunnelOptions, type TunnelState } from './tunnel.ts';
