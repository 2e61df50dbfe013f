import { z } from 'zod';

/** Longest path that systems take (PATH_MAX), without its NUL. */
export const maxPathBytes = 4095;
/** Entries of a folder that are given at once. */
export const maxListEntries = 10_000;

const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array, 'bytes');

/** Names are bytes: not all of them are UTF-8. Absolute, `~/…`, or from the home of the machine's user. */
export const remotePath = bytes
  .refine((path) => path.byteLength > 0, 'a path cannot be empty')
  .refine((path) => path.byteLength <= maxPathBytes, `a path has at most ${maxPathBytes} bytes`)
  .refine((path) => !path.includes(0), 'a path cannot hold a NUL');

export const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/, '64 hex digits');
/** Of one content of one file: another file, another size or another time of change is another one. */
export const fileVersion = z.string().regex(/^[0-9a-f-]{1,120}$/);
export const fileMode = z.number().int().min(0).max(0o7777);

export const fileType = z.enum(['file', 'directory', 'symlink', 'fifo', 'socket', 'device', 'other']);
export type FileType = z.infer<typeof fileType>;

const size = z.number().int().nonnegative();

/** What is said of anything that has a name. Text that is not UTF-8 is in the field with `_b64` in place of the other. */
const attributes = {
  type: fileType,
  size,
  /** Permission bits, setuid and sticky among them. */
  mode: fileMode,
  mtime: z.string(),
  /** Where a symbolic link leads, as it is written in it. */
  target: z.string().optional(),
  target_b64: z.string().optional(),
} as const;

export const fileInfo = z.object({
  /** Absolute. */
  path: z.string().optional(),
  path_b64: z.string().optional(),
  ...attributes,
  uid: z.number().int(),
  gid: z.number().int(),
  /** Of a regular file. */
  version: fileVersion.optional(),
  sha256: sha256Hex.optional(),
});
export type FileInfo = z.infer<typeof fileInfo>;

export const fileEntry = z.object({
  name: z.string().optional(),
  name_b64: z.string().optional(),
  ...attributes,
});
export type FileEntry = z.infer<typeof fileEntry>;

/** The last name of a page, base64url. */
export const listCursor = z.string().regex(/^[A-Za-z0-9_-]{0,400}$/);

/** Events of `file.list`: pages in order, then the end. */
export const listEvent = z.union([
  z.object({ entries: z.array(fileEntry) }),
  z.object({
    end: z.object({
      path: z.string().optional(),
      path_b64: z.string().optional(),
      /** Entries of the folder, whatever the limit. */
      total: size,
      more: z.boolean(),
      next_cursor: listCursor.optional(),
    }),
  }),
]);
export type ListEvent = z.infer<typeof listEvent>;

/** Events of `file.read`: what it is, then data from `from` on, then the end. */
export const readEvent = z.union([
  z.object({ file: fileInfo }),
  z.object({
    end: z.object({
      /** Where it stopped. */
      next: size,
      /** Nothing follows there. */
      complete: z.boolean(),
    }),
  }),
]);
export type ReadEvent = z.infer<typeof readEvent>;

/** Made by the caller for one write, and the same where it is sent again. */
export const writeId = z.string().regex(/^[a-z0-9]{16,64}$/);

/** Last record of the body of `file.write`, an event: it is whole. */
export const writeTrailer = z.object({ end: z.object({ bytes: size, sha256: sha256Hex }) });

export const writeParams = z.strictObject({
  path: remotePath,
  write_id: writeId,
  /** Of the content, where it is known: whether there is room is told before it is sent. */
  size: size.optional(),
  /** Absent: that of the file that is there, or what the umask of the user leaves of 0666. */
  mode: fileMode.optional(),
  /** The content that is there must have this digest. */
  expect_sha256: sha256Hex.optional(),
  /** Nothing may be there. */
  create_only: z.boolean(),
  /** Missing folders on the way are made. */
  parents: z.boolean(),
});

/** What is there now. */
export const fileWritten = z.object({
  path: z.string().optional(),
  path_b64: z.string().optional(),
  size,
  sha256: sha256Hex,
  mode: fileMode,
  /** Nothing was there before. */
  created: z.boolean(),
});
export type FileWritten = z.infer<typeof fileWritten>;

export const fileRemoved = z.object({
  path: z.string().optional(),
  path_b64: z.string().optional(),
  /** What it was. */
  type: fileType,
  /** Names that are gone: itself, and what was in it. */
  removed: size,
});
export type FileRemoved = z.infer<typeof fileRemoved>;

export const folderMade = z.object({
  path: z.string().optional(),
  path_b64: z.string().optional(),
  mode: fileMode,
  /** False where it was there already. */
  created: z.boolean(),
});
export type FolderMade = z.infer<typeof folderMade>;
