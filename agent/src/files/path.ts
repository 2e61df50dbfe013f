import { isUtf8 } from 'node:buffer';

const slash = 0x2f;
const tilde = 0x7e;

/**
 * A path as its caller wrote it, made absolute. `~` and `~/…` are the home, what begins with a slash is as it is, all else
 * begins in the home. Nothing else is expanded or tidied up: what `..` means behind a symbolic link is for the system to say.
 */
export function absolutePath(path: Uint8Array, home: string): Buffer {
  const bytes = Buffer.from(path);
  if (bytes[0] === slash) return bytes;
  const ofHome = bytes[0] === tilde && (bytes.byteLength === 1 || bytes[1] === slash);
  return below(Buffer.from(home), ofHome ? bytes.subarray(2) : bytes);
}

/** `name` in `folder`. */
export function below(folder: Uint8Array, name: Uint8Array): Buffer {
  const between = folder.at(-1) === slash || name.byteLength === 0 ? '' : '/';
  return Buffer.concat([folder, Buffer.from(between), name]);
}

/** Folder and last part of an absolute path; slashes at its end do not count. The last part of `/` is empty. */
export function splitPath(path: Buffer): { folder: Buffer; name: Buffer } {
  const bare = withoutEnd(path);
  const at = bare.lastIndexOf(slash);
  return { folder: at <= 0 ? Buffer.from('/') : bare.subarray(0, at), name: bare.subarray(at + 1) };
}

/** Without slashes at its end: with them a symbolic link would be followed. */
export function withoutEnd(path: Buffer): Buffer {
  let end = path.byteLength;
  while (end > 1 && path[end - 1] === slash) end--;
  return path.subarray(0, end);
}

/** A field for an answer: text as `name`, what is not UTF-8 as `name_b64`. */
export function textField<K extends string>(name: K, bytes: Uint8Array): { [F in K | `${K}_b64`]?: string } {
  const field = isUtf8(bytes) ? name : `${name}_b64`;
  const value = Buffer.from(bytes).toString(isUtf8(bytes) ? 'utf8' : 'base64');
  return { [field]: value } as { [F in K | `${K}_b64`]?: string };
}

/** For messages. */
export function shownPath(path: Uint8Array): string {
  const text = Buffer.from(path).toString();
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
