import { createRequire } from 'node:module';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Probe } from './probe.ts';

/** Where the Node binaries are that we can bring. */
export interface RuntimeSources {
  /** Path of the pinned binary for `linux-x64` and the like, or undefined. */
  find(platform: string): string | undefined;
}

/** The npm package of the platform (its version pinned, its content checked by npm), else the Node that runs us where it fits. */
export const ownRuntimes: RuntimeSources = {
  find(platform) {
    try {
      return createRequire(import.meta.url).resolve(`node-${platform}/bin/node`);
    } catch {
      return platform === `${process.platform}-${process.arch}` && isWhole() ? process.execPath : undefined;
    }
  },
};

/** False for a Node that needs a libnode.so beside it, as distributions build it. */
function isWhole(): boolean {
  return (process.config.variables as Record<string, unknown>).node_shared !== true;
}

const systems: Readonly<Record<string, string>> = { Linux: 'linux', Darwin: 'darwin' };
const processors: Readonly<Record<string, string>> = {
  x86_64: 'x64',
  amd64: 'x64',
  aarch64: 'arm64',
  arm64: 'arm64',
};

/** What uname(1) says on hosts of a platform, `Linux/x86_64` and the like. */
export function unameOf(platform: string): string[] {
  return Object.entries(systems).flatMap(([os, system]) =>
    Object.entries(processors)
      .filter(([, processor]) => `${system}-${processor}` === platform)
      .map(([arch]) => `${os}/${arch}`),
  );
}

/** Platforms whose Node can be here. */
export const knownPlatforms = ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64'] as const;

/** Path here of the Node to bring. Throws `runtime_unsupported`. */
export function chooseRuntime(probe: Probe, sources: RuntimeSources): string {
  const refuse = (why: string): never => {
    throw new RemoteError('runtime_unsupported', `the machine cannot run our Node: ${why}`, {
      hint: 'Linux on x64 and arm64 with glibc is supported; with a Node of its own (>= 22.15) try --system-node',
      facts: { os: probe.os, arch: probe.arch, libc: probe.libc },
    });
  };
  const os = systems[probe.os] ?? refuse(`its system is ${probe.os || 'unknown'}`);
  const arch = processors[probe.arch] ?? refuse(`its processor is ${probe.arch || 'unknown'}`);
  if (probe.bits === '32') return refuse('its user space has 32 bits');
  if (os === 'linux' && probe.libc === 'musl') return refuse('its C library is musl');
  return sources.find(`${os}-${arch}`) ?? refuse(`no Node for ${os}-${arch} is installed here`);
}

/** The machine's own Node. Throws `runtime_unsupported` when it has none that is new enough. */
export function requireSystemNode(probe: Probe): string {
  const { systemNode } = probe;
  const [, major, minor] = /^v(\d{1,4})\.(\d{1,4})\./.exec(systemNode?.version ?? '') ?? [];
  const enough = major !== undefined && (Number(major) > 22 || (Number(major) === 22 && Number(minor) >= 15));
  if (systemNode === undefined || !enough) {
    throw new RemoteError(
      'runtime_unsupported',
      `the machine has ${systemNode === undefined ? 'no Node of its own in PATH' : `Node ${systemNode.version}`}, 22.15 is needed`,
      {
        hint: 'leave --system-node out: we bring our own',
      },
    );
  }
  return systemNode.path;
}
