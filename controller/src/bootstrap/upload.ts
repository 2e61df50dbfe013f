import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import { runScript, type ScriptReport } from '../ssh/script.ts';
import type { HostTransport } from '../ssh/transport.ts';
import { Cksum } from './cksum.ts';
import { placeProgram } from './place-program.ts';
import type { Probe } from './probe.ts';
import { entryBytes, type StoreEntry, type StoreFile } from './store-entry.ts';

/** How bytes travel. Compressing pays where the way is slower than a processor compresses: not on loopback. */
export type Coding = 'raw' | 'gzip';

/** A round trip shorter than this is a network that takes 126 MB faster raw than compressed. The system's ssh starts a process for it. */
const nearMs = { ssh2: 2, system: 30, local: Number.POSITIVE_INFINITY } as const;
/** Bytes that neither go nor are answered for so long end an upload. */
const idleMs = 15_000;

export interface UploadOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly coding: Coding;
  /** Node on the machine that places the entry; absent: the entry is that Node. */
  readonly node?: string;
  /** Bytes of the entry that have gone, before compression. */
  readonly onProgress?: (bytes: number) => void;
}

/**
 * The store entry is built in a folder of its own, whose name is this run's alone, and appears under its real name by one
 * rename(2): two uploads at once are safe, a cut one leaves nothing. The sums are compared before anything that came is
 * run; then the Node that came compares them again and places the folder.
 */
const uploadScript = `
IFS= read -r base; IFS= read -r entry; IFS= read -r coding; IFS= read -r check; IFS= read -r node; IFS= read -r place; IFS= read -r count
umask 077
part=$base/store/.part-$S
fail() { say failed "$1"; exit 1; }
trap 'rm -rf "$part"' EXIT
trap 'exit 1' HUP INT TERM PIPE
find "$base/store" -maxdepth 1 -name '.part-*' -mtime +0 -exec rm -rf {} + 2>/dev/null
mkdir -p "$base/store" && mkdir "$part" || fail write
size() { set -- $(ls -ln "$1"); printf %s "$5"; }
sum() {
  case $check in
    sha256sum) sha256sum <"$1" ;;
    shasum) shasum -a 256 <"$1" ;;
    openssl) openssl dgst -sha256 -r <"$1" ;;
    busybox) busybox sha256sum <"$1" ;;
    cksum) cksum <"$1" ;;
    *) echo none ;;
  esac | { read -r value rest; printf %s "$value"; }
}
set --
i=0
while [ "$i" -lt "$count" ]; do
  IFS= read -r name; IFS= read -r bytes; IFS= read -r mode; IFS= read -r expected; IFS= read -r hash
  set -- "$@" "$name" "$bytes" "$mode" "$expected" "$hash"
  i=$((i + 1))
done
if [ "$coding" = gzip ]; then gzip -dc; else cat; fi >"$part/.all" || fail write
at=0
args=
while [ "$#" -gt 0 ] && [ "$i" -gt 0 ]; do
  name=$1 bytes=$2 mode=$3 expected=$4 hash=$5
  shift 5
  if [ "$count" -eq 1 ]; then
    mv "$part/.all" "$part/$name"
  else
    tail -c "+$((at + 1))" "$part/.all" | head -c "$bytes" >"$part/$name" || fail write
  fi
  [ "$(size "$part/$name")" = "$bytes" ] || fail size
  [ "$(sum "$part/$name")" = "$expected" ] || fail checksum
  chmod "$mode" "$part/$name" || fail write
  at=$((at + bytes))
  i=$((i - 1))
  set -- "$@" "$name" "$hash"
done
rm -f "$part/.all"
[ -n "$node" ] || node=$part/node
placed=$("$node" -e "$place" -- "$part" "$base/store/$entry" "$@")
code=$?
[ "$code" -eq 0 ] || { say code "$code"; fail place; }
say placed "$placed"
`;

/** Puts an entry into the machine's store. Throws `disk_low`, `runtime_unsupported`, `bootstrap_failed`, `connection_reset`. */
export async function uploadEntry(
  transport: HostTransport,
  entry: StoreEntry,
  probe: Probe,
  options: UploadOptions,
): Promise<void> {
  const check = checkTool(probe);
  const params = [
    probe.base,
    entry.name,
    options.coding,
    check,
    options.node ?? '',
    placeProgram,
    String(entry.files.length),
  ];
  for (const file of entry.files)
    params.push(
      file.name,
      String(file.bytes),
      file.mode.toString(8),
      await expectedSum(file, check),
      file.sha256,
    );
  const report = await runScript(transport, uploadScript, {
    clock: options.clock,
    signal: options.signal,
    params,
    input: options.coding === 'gzip' ? compressed(entry, options) : plain(entry, options),
    idleMs,
  });
  if (report.get('placed') === undefined) throw notPlaced(entry, probe, report);
}

/** Compressed or not, by the distance of the machine (one round trip is measured). */
export async function chooseCoding(
  transport: Pick<HostTransport, 'kind' | 'ping'>,
  probe: Pick<Probe, 'tools'>,
  clock: Pick<Clock, 'monotonic'>,
): Promise<Coding> {
  if (!probe.tools.has('gzip')) return 'raw';
  const began = clock.monotonic();
  await transport.ping();
  const first = clock.monotonic() - began;
  await transport.ping();
  return Math.min(first, clock.monotonic() - began - first) < nearMs[transport.kind] ? 'raw' : 'gzip';
}

function checkTool(probe: Probe): string {
  return (
    ['sha256sum', 'shasum', 'openssl', 'busybox', 'cksum'].find((tool) => probe.tools.has(tool)) ?? 'none'
  );
}

async function expectedSum(file: StoreFile, check: string): Promise<string> {
  if (check === 'none') return 'none';
  if (check !== 'cksum') return file.sha256;
  const sum = new Cksum();
  for await (const chunk of createReadStream(file.path, { highWaterMark: 1024 * 1024 })) sum.update(chunk);
  return String(sum.digest());
}

async function* plain(entry: StoreEntry, { onProgress }: UploadOptions): AsyncGenerator<Buffer, void, void> {
  let sent = 0;
  for (const file of entry.files) {
    for await (const chunk of createReadStream(file.path, { highWaterMark: 256 * 1024 })) {
      yield chunk;
      sent += chunk.length;
      onProgress?.(sent);
    }
  }
}

async function* compressed(entry: StoreEntry, options: UploadOptions): AsyncGenerator<Buffer, void, void> {
  // Level 1: the way is rarely so slow that the next levels' time comes back.
  const source = Readable.from(plain(entry, options));
  const gzip = createGzip({ level: 1, chunkSize: 256 * 1024 });
  source.on('error', (error) => gzip.destroy(error));
  try {
    yield* source.pipe(gzip);
  } finally {
    source.destroy();
    gzip.destroy();
  }
}

function notPlaced(entry: StoreEntry, probe: Probe, report: ScriptReport): RemoteError {
  const failed = report.get('failed') ?? 'unknown';
  const facts = { remote_stderr: report.stderr, failed };
  const code = Number(report.get('code'));
  // The space was there when we looked; somebody else has filled it since, or a quota is in the way.
  if (failed === 'write' || failed === 'size') {
    return new RemoteError(
      'disk_low',
      `${probe.base} on the machine took not all of ${entryBytes(entry)} bytes`,
      {
        hint: 'free some space or quota there, or choose another place with --agent-home; then repeat',
        facts,
      },
    );
  }
  if (failed === 'place' && code !== placeFailed) {
    return new RemoteError(
      'runtime_unsupported',
      `the Node that we brought does not run on the machine (status ${code})`,
      {
        hint: 'remote_stderr says why; an older C library perhaps. With a Node of its own (>= 22.15) try --system-node',
        facts: { ...facts, os: probe.os, arch: probe.arch, libc: probe.libc },
      },
    );
  }
  return new RemoteError(
    'bootstrap_failed',
    `${entry.name} did not arrive whole on the machine (${failed})`,
    { hint: 'repeat; if it stays so, look at the disk of the machine', facts },
  );
}

/** Status of `placeProgram` when it ran and refused. */
const placeFailed = 3;
