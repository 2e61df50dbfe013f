/**
 * A path inside a tree, as bytes: a character of it is one byte, so that names which are no UTF-8 survive. Relative, `/`
 * between names, without `.` and `..`; the tree itself has the empty path.
 */
export type BytePath = string;

export type NamedEntryType = 'file' | 'directory' | 'symlink' | 'other';
export type EntryType = NamedEntryType | 'rules';

/** What a `.gitignore` says. */
export interface IgnoreText {
  readonly text: string;
  /** Where the folder is that it counts for, seen from the one that the file is in: that may be above the tree. */
  readonly prefix: BytePath;
}

/**
 * One name of a tree. Trees are told in preorder: a folder before what is in it, and the names of one folder in the order of
 * their bytes.
 */
export interface Entry {
  readonly path: BytePath;
  /**
   * `other`: it is there and does not travel (a device, what could not be read); what has its name elsewhere is left alone.
   * `rules`: no name at all, but what is ignored in the folder `path`; it stands before the names of that.
   */
  readonly type: EntryType;
  /** The nine permission bits. What runs as its owner or group does not travel. */
  readonly mode: number;
  /** Bytes of a file, else 0. */
  readonly size: number;
  /** Microseconds since the epoch, of a file, else 0: the finest time that Node can give a file. */
  readonly mtimeUs: number;
  /** Of a symbolic link: where it leads, as it is written in it. */
  readonly target?: BytePath;
  /** Of a file whose content is compared. */
  readonly sha256?: Uint8Array;
  /** Of `rules`. */
  readonly rules?: IgnoreText;
}

export const permissionBits = 0o777;
/** Times from 1970 on, for 285 years: those beyond are told as the first or the last of them. Node sets no earlier one. */
export const maxMtimeUs = 9e15;

/** `name` in the folder `path`. */
export function childPath(path: BytePath, name: BytePath): BytePath {
  return path === '' ? name : `${path}/${name}`;
}

/** Where the system finds a path of the tree `root`, which is absolute. */
export function absoluteOf(root: BytePath, path: BytePath): BytePath {
  if (path === '') return root;
  return root.endsWith('/') ? root + path : `${root}/${path}`;
}

export function parentPath(path: BytePath): BytePath {
  const at = path.lastIndexOf('/');
  return at < 0 ? '' : path.slice(0, at);
}

export function lastName(path: BytePath): BytePath {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** Text or bytes as they came from a user or a wire. */
export function bytePath(path: string | Uint8Array): BytePath {
  return Buffer.from(path as string).toString('latin1');
}

const ascii = /^[\0-\x7f]*$/;

/** What Node's functions take: text costs them less, and only ASCII is the same as text and as bytes. */
export function systemPath(path: BytePath): string | Buffer {
  return ascii.test(path) ? path : Buffer.from(path, 'latin1');
}

/** For people and patterns: what is no UTF-8 becomes U+FFFD. */
export function pathText(path: BytePath): string {
  return ascii.test(path) ? path : Buffer.from(path, 'latin1').toString('utf8');
}
