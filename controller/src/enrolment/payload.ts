import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { makePrivateDir } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import {
  knownPlatforms,
  type RuntimeSources,
  type StoreEntries,
  type StoreEntry,
  type StoreFile,
  unameOf,
} from '../bootstrap/index.ts';

/** Our Node for one platform, as it is and packed by gzip. */
export interface JoinRuntime {
  /** What uname(1) says there. */
  readonly uname: readonly string[];
  /** Its name in the store. */
  readonly entry: string;
  readonly raw: StoreFile;
  readonly packed: StoreFile;
}

/** All that a host needs to join, as files here. */
export interface Payload {
  readonly runtimes: readonly JoinRuntime[];
  readonly agent: StoreEntry;
}

export interface PayloadsOptions {
  readonly runtimes: RuntimeSources;
  /** Shared: it remembers hashes. */
  readonly entries: StoreEntries;
  /** Paths of the files of the agent bundle. */
  readonly bundle: readonly string[];
  /** Where packed runtimes are kept; may be deleted at any time. */
  readonly cache: string;
}

/** Level 1: a third of the time of the default for a tenth more bytes. */
const gzipLevel = 1;

/** What invitations bring. A runtime is packed once, which takes two seconds, and kept by the hash of what it holds. */
export class Payloads {
  readonly #options: PayloadsOptions;
  #packing: Promise<Payload> | undefined;

  constructor(options: PayloadsOptions) {
    this.#options = options;
  }

  /** Throws `runtime_unsupported` where there is no runtime at all. */
  async get(): Promise<Payload> {
    this.#packing ??= this.#make().finally(() => {
      this.#packing = undefined;
    });
    return this.#packing;
  }

  async #make(): Promise<Payload> {
    const { runtimes, entries, bundle } = this.#options;
    const agent = await entries.bundle('agent', bundle);
    const found: JoinRuntime[] = [];
    for (const platform of knownPlatforms) {
      const path = runtimes.find(platform);
      if (path === undefined) continue;
      const entry = await entries.program('node', path, 'node');
      const [raw] = entry.files;
      if (!raw) continue;
      const file = { ...raw, name: `node-${platform}` };
      found.push({
        uname: unameOf(platform),
        entry: entry.name,
        raw: file,
        packed: await this.#packed(file),
      });
    }
    if (found.length === 0)
      throw new RemoteError('runtime_unsupported', 'no Node is installed here that could be brought', {
        hint: 'install codex-remote by npm with its optional dependencies',
      });
    return { runtimes: found, agent };
  }

  async #packed(raw: StoreFile): Promise<StoreFile> {
    const { cache, entries } = this.#options;
    makePrivateDir(cache);
    const path = join(cache, `${raw.name}-${raw.sha256}.gz`);
    if (!(await stat(path).catch(() => undefined))) {
      const part = `${path}.${process.pid}.part`;
      try {
        await pipeline(
          createReadStream(raw.path, { highWaterMark: 1024 * 1024 }),
          createGzip({ level: gzipLevel, chunkSize: 256 * 1024 }),
          createWriteStream(part, { mode: 0o600 }),
        );
        await rename(part, path);
      } finally {
        await rm(part, { force: true });
      }
    }
    const [file] = (await entries.program('packed', path, `${raw.name}.gz`)).files;
    if (!file) throw new RemoteError('internal', 'an entry without a file');
    return file;
  }
}

/** Every file that a host may ask for, by its name. */
export function filesOf({ runtimes, agent }: Payload): ReadonlyMap<string, StoreFile> {
  const files = [...runtimes.flatMap(({ raw, packed }) => [raw, packed]), ...agent.files];
  return new Map(files.map((file) => [file.name, file]));
}

export function sha256Of(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
