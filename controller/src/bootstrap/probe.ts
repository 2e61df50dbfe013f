import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import { runScript, type ScriptReport } from '../ssh/script.ts';
import type { HostTransport } from '../ssh/transport.ts';
import { lookAtPlace, lookAtSystem } from './look.ts';

/** What a machine is and has, in one round trip. */
export interface Probe {
  /** uname(1): `Linux`, `Darwin`. */
  readonly os: string;
  /** uname -m: `x86_64`, `aarch64`, `arm64` … */
  readonly arch: string;
  /** Of user space; a 64-bit kernel may run a 32-bit system. */
  readonly bits: string;
  /** `glibc 2.36`, `musl`, or empty where that cannot be told. */
  readonly libc: string;
  readonly uid: string;
  readonly home: string;
  /** systemd manages the machine: its user services can keep an agent. */
  readonly systemd: boolean;
  /** Absolute path under which everything of ours is. */
  readonly base: string;
  /** What systems do with the place: `logout`: removed when the user logs out; `age`: cleaned by age, or at a reboot. */
  readonly cleaned: '' | 'logout' | 'age';
  /** A folder on the way to it that every user of the machine can change; empty where there is none. */
  readonly open: string;
  readonly freeKb: number;
  /** Empty: a file could be written. */
  readonly notWritable: '' | 'access' | 'write';
  readonly noexec: boolean;
  readonly tools: ReadonlySet<string>;
  /** `entry/file` -> bytes, for everything in the store. */
  readonly store: ReadonlyMap<string, number>;
  /** The machine's own Node, only where it was asked for. */
  readonly systemNode?: { readonly path: string; readonly version: string };
  readonly stderr: string;
}

const probeScript = `
IFS= read -r base; IFS= read -r want_node
LC_ALL=C; export LC_ALL
${lookAtSystem}
say os "$os"
say arch "$arch"
say bits "$bits"
say libc "$libc"
say uid "$(id -u)"
say home "$HOME"
[ -d /run/systemd/system ] && say systemd yes
${lookAtPlace}
say base "$base"
[ -z "$cleaned" ] || say cleaned "$cleaned"
say free_kb "$free"
umask 077
if [ -n "$open" ]; then
  say open "$open"
elif [ ! -w "$near" ]; then
  say not_writable access
elif mkdir -p "$base/store" && printf '#!/bin/sh\\nexit 0\\n' >"$base/store/.probe-$S" && [ -s "$base/store/.probe-$S" ]; then
  chmod 700 "$base/store/.probe-$S"
  "$base/store/.probe-$S" || say noexec yes
else
  say not_writable write
fi
rm -f "$base/store/.probe-$S" 2>/dev/null
for tool in sha256sum shasum openssl busybox cksum gzip setsid systemctl; do
  command -v "$tool" >/dev/null 2>&1 && say tool "$tool"
done
if cd "$base/store" 2>/dev/null; then
  for file in */*; do
    [ -f "$file" ] || continue
    set -- $(ls -ln "$file")
    say entry "$5 $file"
  done
fi
if [ "$want_node" = yes ] && node=$(command -v node); then
  say node "$node"
  say node_version "$("$node" --version 2>/dev/null)"
fi
say end
`;

/**
 * Looks at the machine and at the place for the agent there, which is made if it can be. `agentHome`: the user's choice of
 * base. Throws `bootstrap_failed`, `connection_reset`.
 */
export async function probeMachine(
  transport: HostTransport,
  options: {
    readonly clock: Clock;
    readonly signal: AbortSignal;
    readonly agentHome?: string;
    readonly systemNode?: boolean;
  },
): Promise<Probe> {
  const report = await runScript(transport, probeScript, {
    clock: options.clock,
    signal: options.signal,
    params: [options.agentHome ?? '', options.systemNode ? 'yes' : 'no'],
  });
  if (report.get('end') === undefined) {
    throw new RemoteError('bootstrap_failed', `looking at ${transport.description} did not end well`, {
      facts: { remote_stderr: report.stderr },
    });
  }
  return readProbe(report);
}

function readProbe(report: ScriptReport): Probe {
  const said = (key: string): string => (report.get(key) ?? '').slice(0, 1024);
  const base = said('base');
  if (!base.startsWith('/') || /[\p{Cc}]/u.test(base)) {
    throw new RemoteError(
      'bootstrap_failed',
      `the machine names ${JSON.stringify(base)} as the place for the agent`,
      {
        hint: 'give an absolute path with --agent-home',
        facts: { remote_stderr: report.stderr },
      },
    );
  }
  const notWritable = said('not_writable');
  const cleaned = said('cleaned');
  const node = said('node');
  return {
    os: said('os'),
    arch: said('arch'),
    bits: said('bits'),
    libc: said('libc'),
    uid: said('uid'),
    home: said('home'),
    systemd: report.get('systemd') !== undefined,
    base,
    open: said('open'),
    cleaned: cleaned === 'logout' || cleaned === 'age' ? cleaned : '',
    // A machine whose df we cannot read is not refused for it.
    freeKb: /^\d{1,15}$/.test(said('free_kb')) ? Number(said('free_kb')) : Number.POSITIVE_INFINITY,
    notWritable: notWritable === '' ? '' : notWritable === 'access' ? 'access' : 'write',
    noexec: report.get('noexec') !== undefined,
    tools: new Set(report.all('tool')),
    store: new Map(
      report.all('entry').flatMap((line): [string, number][] => {
        const [, bytes, path] = /^(\d{1,15}) (.*)$/.exec(line) ?? [];
        return bytes === undefined || path === undefined ? [] : [[path, Number(bytes)]];
      }),
    ),
    ...(node === '' ? {} : { systemNode: { path: node, version: said('node_version') } }),
    stderr: report.stderr,
  };
}

/** Throws `state_unusable` where the agent's records would be gone with the user's session, or others could replace them. */
export function requireLastingPlace(probe: Probe): void {
  if (probe.open !== '')
    throw new RemoteError(
      'state_unusable',
      `${probe.base} on the machine is no place for our files: ${probe.open} can be changed by other users`,
      {
        hint: `\`chmod go-w ${probe.open}\` there, or choose another place with --agent-home`,
        facts: { base: probe.base },
      },
    );
  if (probe.cleaned !== 'logout') return;
  throw new RemoteError(
    'state_unusable',
    `${probe.base} on the machine is removed when its user logs out: records of execs would be lost`,
    { hint: 'choose another place with --agent-home', facts: { base: probe.base } },
  );
}

/** What to say of a place that is used all the same: the user chose it, or has a home there. */
export function placeWarnings(probe: Probe): string[] {
  if (probe.cleaned !== 'age') return [];
  return [
    `${probe.base} is in a folder that systems clean by age: records of execs can be lost; --agent-home`,
  ];
}

/** Free space that the agent needs for its own records, beside what is uploaded. */
const reserveKb = 8 * 1024;

/** Throws `home_not_writable`, `disk_low` or `noexec_home` where an upload of so many bytes cannot work. */
export function requireRoom(probe: Probe, uploadBytes: number): void {
  const facts = { base: probe.base, ...(probe.stderr === '' ? {} : { remote_stderr: probe.stderr }) };
  const hint = 'choose another place with --agent-home';
  const neededKb = Math.ceil(uploadBytes / 1024) + reserveKb;
  if (probe.notWritable !== 'access' && probe.freeKb < neededKb) {
    throw new RemoteError(
      'disk_low',
      `${probe.base} on the machine has ${probe.freeKb} KiB free, ${neededKb} are needed`,
      {
        hint: `free some space there, or ${hint}`,
        facts: { ...facts, free_kb: probe.freeKb, needed_kb: neededKb },
      },
    );
  }
  if (probe.notWritable !== '') {
    throw new RemoteError('home_not_writable', `${probe.base} on the machine cannot be written`, {
      hint: `make it writable, or ${hint}`,
      facts,
    });
  }
  if (probe.noexec) {
    throw new RemoteError(
      'noexec_home',
      `${probe.base} on the machine is mounted noexec: nothing can be run from it`,
      { hint, facts },
    );
  }
}
