import {
  type BytePath,
  childPath,
  type Entry,
  maxMtimeUs,
  type NamedEntryType,
  pathText,
  permissionBits,
} from './entry.ts';
import { type TreeLimits, treeLimits } from './limits.ts';
import {
  digestBytes,
  digestFollows,
  endMark,
  kindBits,
  manifestVersion,
  maxEntryBytes,
  maxNumberBytes,
  modeFollows,
  namedTypes,
  rulesMark,
  unzigzag,
  upFollows,
  upShift,
  usPerSecond,
} from './manifest-format.ts';
import { nameFault } from './names.ts';
import { badManifest, badPath, overLimit } from './tree-error.ts';

interface Folder {
  readonly path: BytePath;
  /** The name before: the next one is behind it, so none comes twice. */
  last: BytePath;
  names: number;
}

/** Thrown inside: the entry goes on in a piece that is not there yet. */
const needsMore = Symbol('needs more');

/**
 * Reads a manifest as its pieces come, whoever wrote it. What it gives is in preorder, has no name twice, and nothing in what
 * is no directory. Holds what is left of one entry, and one name a folder. Throws `sync_path` for a name that no tree of ours
 * has, `sync_limit`, and `protocol_error`; then it is of no use any more.
 */
export class ManifestParser {
  readonly #limits: TreeLimits;
  #rest: Buffer = Buffer.alloc(0);
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  #started = false;
  #ended = false;
  #entries = 0;
  #lastSeconds = 0;
  readonly #folders: Folder[] = [{ path: '', last: '', names: 0 }];
  readonly #modes: Record<NamedEntryType, number> = { file: -1, directory: -1, symlink: -1, other: 0 };

  constructor(limits: TreeLimits = treeLimits) {
    this.#limits = limits;
  }

  /** Its last record was read. */
  get ended(): boolean {
    return this.#ended;
  }

  /** The entries that `piece` completes. */
  push(piece: Uint8Array): Entry[] {
    const given = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    this.#bytes = this.#rest.byteLength === 0 ? given : Buffer.concat([this.#rest, given]);
    this.#at = 0;
    const entries: Entry[] = [];
    for (;;) {
      const begin = this.#at;
      try {
        if (this.#at === this.#bytes.byteLength) break;
        const entry = this.#next();
        if (entry) entries.push(entry);
      } catch (error) {
        if (error !== needsMore) throw error;
        this.#at = begin;
        break;
      }
    }
    const left = this.#bytes.subarray(this.#at);
    if (left.byteLength > maxEntryBytes) throw badManifest('an entry is longer than one can be');
    this.#rest = Buffer.from(left);
    return entries;
  }

  /** Throws `protocol_error` where it was not whole. */
  end(): void {
    if (!this.#ended) throw badManifest('it has no end');
  }

  #next(): Entry | undefined {
    if (this.#ended) throw badManifest('something follows its end');
    const head = this.#byte();
    if (!this.#started) {
      if (head !== manifestVersion) throw badManifest(`its version is ${head}`);
      this.#started = true;
      return undefined;
    }
    if (head === endMark) {
      if (this.#number() !== this.#entries) throw badManifest('entries of it are missing');
      this.#ended = true;
      return undefined;
    }
    return this.#entry(head);
  }

  /** Changes nothing of ours before all of the entry has been read. */
  #entry(head: number): Entry {
    if ((head & kindBits) === rulesMark) return this.#rules(head);
    const type = namedTypes[head & 0b11] ?? 'other';
    const digested = (head & digestFollows) !== 0;
    const hasMode = (head & modeFollows) !== 0;
    if ((type === 'other' && hasMode) || (type !== 'file' && digested)) throw badManifest('an unknown kind');
    const up = this.#up(head);
    const name = this.#text(this.#limits.maxNameBytes, 'a name');
    const mode = hasMode ? this.#number() : this.#modes[type];
    if (mode < 0 || mode > permissionBits) throw badManifest(`a mode of ${mode}`);
    const target = type === 'symlink' ? this.#text(this.#limits.maxTargetBytes, 'a target') : undefined;
    const size = type === 'file' ? this.#number() : 0;
    if (size > this.#limits.maxFileBytes)
      throw overLimit('a file that is too large', this.#limits.maxFileBytes);
    const seconds = type === 'file' ? this.#lastSeconds + unzigzag(this.#number()) : 0;
    const micros = type === 'file' ? this.#number() : 0;
    const mtimeUs = seconds * usPerSecond + micros;
    if (micros >= usPerSecond || mtimeUs < 0 || mtimeUs > maxMtimeUs)
      throw badManifest('a time that is none');
    const sha256 = digested ? this.#digest() : undefined;

    const path = this.#place(up, name, type);
    this.#modes[type] = mode;
    if (type === 'file') this.#lastSeconds = seconds;
    return {
      path,
      type,
      mode,
      size,
      mtimeUs,
      ...(target !== undefined && { target }),
      ...(sha256 && { sha256 }),
    };
  }

  #rules(head: number): Entry {
    const up = this.#up(head);
    const prefix = this.#text(this.#limits.maxPathBytes, 'a prefix');
    const text = pathText(this.#text(this.#limits.maxIgnoreFileBytes, 'a list of what is ignored'));
    const folder = this.#leave(up, '');
    if (folder.names > 0) throw badManifest('what is ignored in a folder comes behind its names');
    if (prefix !== '' && !prefix.split('/').every((name) => nameFault(name) === undefined))
      throw badPath(prefix, 'it leaves the tree');
    this.#count();
    return { path: folder.path, type: 'rules', mode: 0, size: 0, mtimeUs: 0, rules: { text, prefix } };
  }

  #up(head: number): number {
    const few = head >> upShift;
    return few === upFollows ? few + this.#number() : few;
  }

  /** Gives the folder that is then the last. */
  #leave(up: number, name: BytePath): Folder {
    if (up >= this.#folders.length) throw badPath(name, 'it leaves the tree');
    this.#folders.length -= up;
    return this.#folders.at(-1) ?? { path: '', last: '', names: 0 };
  }

  #count(): void {
    this.#entries += 1;
    if (this.#entries > this.#limits.maxEntries) throw overLimit('names', this.#limits.maxEntries);
  }

  /** Leaves `up` folders, and gives the path of `name` in the one that is then the last. */
  #place(up: number, name: BytePath, type: NamedEntryType): BytePath {
    const folder = this.#leave(up, name);
    const path = childPath(folder.path, name);
    const fault = nameFault(name);
    if (fault !== undefined) throw badPath(path, fault);
    if (name <= folder.last) throw badPath(path, 'its name is out of order, or comes twice');
    if (path.length > this.#limits.maxPathBytes)
      throw overLimit('bytes in a path', this.#limits.maxPathBytes);
    folder.last = name;
    folder.names += 1;
    this.#count();
    if (folder.names > this.#limits.maxSiblings)
      throw overLimit('names in a folder', this.#limits.maxSiblings);
    if (type !== 'directory') return path;
    if (this.#folders.length > this.#limits.maxDepth)
      throw overLimit('folders in folders', this.#limits.maxDepth);
    this.#folders.push({ path, last: '', names: 0 });
    return path;
  }

  #byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw needsMore;
    this.#at += 1;
    return byte;
  }

  #number(): number {
    let value = 0;
    let scale = 1;
    for (let count = 0; count < maxNumberBytes; count++) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) break;
        return value;
      }
      scale *= 0x80;
    }
    throw badManifest('a number that is too large');
  }

  #text(limit: number, what: string): BytePath {
    const length = this.#number();
    if (length > limit) throw badManifest(`${what} of ${length} bytes`);
    this.#need(length);
    this.#at += length;
    return this.#bytes.toString('latin1', this.#at - length, this.#at);
  }

  #digest(): Uint8Array {
    this.#need(digestBytes);
    this.#at += digestBytes;
    return new Uint8Array(this.#bytes.subarray(this.#at - digestBytes, this.#at));
  }

  #need(bytes: number): void {
    if (this.#bytes.byteLength - this.#at < bytes) throw needsMore;
  }
}
