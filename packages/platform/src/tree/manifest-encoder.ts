import {
  type BytePath,
  bytePath,
  type Entry,
  type IgnoreText,
  lastName,
  type NamedEntryType,
} from './entry.ts';
import {
  digestBytes,
  digestFollows,
  endMark,
  manifestVersion,
  maxEntryBytes,
  modeFollows,
  rulesMark,
  typeCode,
  upFollows,
  upShift,
  usPerSecond,
  zigzag,
} from './manifest-format.ts';

/** Writes a manifest piece by piece. Its entries come in preorder, as `scanTree` gives them. */
export class ManifestEncoder {
  #buffer = Buffer.allocUnsafe(0);
  #at = 0;
  #entries = 0;
  #started = false;
  /** Folders that are open; the tree itself is 0. */
  #depth = 0;
  #lastSeconds = 0;
  readonly #modes: Record<NamedEntryType, number> = { file: -1, directory: -1, symlink: -1, other: -1 };

  encode(entries: readonly Entry[]): Uint8Array {
    this.#begin(entries.length * 64);
    for (const entry of entries) this.#entry(entry);
    return this.#taken();
  }

  /** The last piece. */
  end(): Uint8Array {
    this.#begin(maxEntryBytes);
    this.#buffer[this.#at++] = endMark;
    this.#number(this.#entries);
    return this.#taken();
  }

  #begin(bytes: number): void {
    this.#buffer = Buffer.allocUnsafe(bytes + maxEntryBytes);
    this.#at = 0;
    if (this.#started) return;
    this.#started = true;
    this.#buffer[this.#at++] = manifestVersion;
  }

  #taken(): Uint8Array {
    const taken = this.#buffer.subarray(0, this.#at);
    this.#buffer = Buffer.allocUnsafe(0);
    return taken;
  }

  #entry({ path, type, mode, size, mtimeUs, target = '', sha256, rules }: Entry): void {
    this.#makeRoom();
    this.#entries += 1;
    if (type === 'rules') return this.#rules(path, rules);
    const newMode = this.#modes[type] !== mode && type !== 'other';
    const kind =
      typeCode[type] | (newMode ? modeFollows : 0) | (sha256 && type === 'file' ? digestFollows : 0);
    const depth = depthOf(path);
    this.#head(kind, depth);
    if (type === 'directory') this.#depth = depth + 1;
    this.#text(lastName(path));
    if (type === 'other') return;
    if (newMode) this.#number(mode);
    this.#modes[type] = mode;
    if (type === 'symlink') this.#text(target);
    if (type !== 'file') return;
    this.#number(size);
    const seconds = Math.floor(mtimeUs / usPerSecond);
    this.#number(zigzag(seconds - this.#lastSeconds));
    this.#number(mtimeUs - seconds * usPerSecond);
    this.#lastSeconds = seconds;
    if (!sha256) return;
    this.#buffer.set(sha256.subarray(0, digestBytes), this.#at);
    this.#at += digestBytes;
  }

  #rules(folder: BytePath, { text, prefix }: IgnoreText = { text: '', prefix: '' }): void {
    this.#head(rulesMark, folder === '' ? 0 : depthOf(folder) + 1);
    this.#text(prefix);
    this.#text(bytePath(text));
  }

  #head(kind: number, depth: number): void {
    const up = this.#depth - depth;
    this.#depth = depth;
    this.#buffer[this.#at++] = kind | (Math.min(up, upFollows) << upShift);
    if (up >= upFollows) this.#number(up - upFollows);
  }

  #makeRoom(): void {
    if (this.#buffer.byteLength - this.#at >= maxEntryBytes) return;
    const larger = Buffer.allocUnsafe(2 * this.#buffer.byteLength);
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }

  #text(text: string): void {
    this.#number(text.length);
    this.#at += this.#buffer.write(text, this.#at, 'latin1');
  }

  #number(value: number): void {
    let left = value;
    while (left >= 0x80) {
      this.#buffer[this.#at++] = (left % 0x80) | 0x80;
      left = Math.floor(left / 0x80);
    }
    this.#buffer[this.#at++] = left;
  }
}

function depthOf(path: string): number {
  let depth = 0;
  for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) depth += 1;
  return depth;
}
