import type { FileEntry, FileInfo } from '@codex-remote/protocol/schema';

/** As people write it: four octal digits. */
export function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

/** What is known of a file, its mode as people write it. */
export function shownInfo(info: FileInfo): Record<string, unknown> {
  return { ...info, mode: octal(info.mode) };
}

const letters: Readonly<Record<FileEntry['type'], string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  fifo: 'p',
  socket: 's',
  device: 'c',
  other: '?',
};

/** `-rw-r--r--`. */
export function modeText({ type, mode }: Pick<FileEntry, 'type' | 'mode'>): string {
  const triple = (bits: number, special: boolean, letter: string): string =>
    (bits & 4 ? 'r' : '-') +
    (bits & 2 ? 'w' : '-') +
    (special ? (bits & 1 ? letter : letter.toUpperCase()) : bits & 1 ? 'x' : '-');
  return (
    letters[type] +
    triple((mode >> 6) & 7, (mode & 0o4000) !== 0, 's') +
    triple((mode >> 3) & 7, (mode & 0o2000) !== 0, 's') +
    triple(mode & 7, (mode & 0o1000) !== 0, 't')
  );
}

/** `name`, or `name -> target`. */
export function linkText(name: string, entry: Pick<FileEntry, 'target' | 'target_b64'>): string {
  const target = entry.target ?? (entry.target_b64 && Buffer.from(entry.target_b64, 'base64').toString());
  return target === undefined ? name : `${name} -> ${target}`;
}
