import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { bytePath, type Entry, type ScanOptions, scanTree } from '@codex-remote/platform/tree';
import { onTestFinished } from 'vitest';

/** A folder of the test's own, gone when it ends. */
export function scratch(): string {
  const dir = mkdtempSync(join(tmpdir(), 'cr-tree-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Content of a file, `null` for a folder, `{link}` for a symbolic link; what lies on the way is made. */
export type Shape = Readonly<Record<string, string | null | { readonly link: string }>>;

export function grow(root: string, shape: Shape): void {
  for (const [name, what] of Object.entries(shape)) {
    const path = join(root, name);
    mkdirSync(what === null ? path : dirname(path), { recursive: true });
    if (typeof what === 'string') {
      writeFileSync(path, what);
      chmodSync(path, 0o644);
      utimesSync(path, 1e9, 1e9);
    } else if (what) symlinkSync(what.link, path);
  }
}

export async function scanned(root: string, options: Partial<ScanOptions> = {}): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const batch of scanTree(bytePath(root), { ignore: true, ...options })) entries.push(...batch);
  return entries;
}

export async function paths(root: string, options: Partial<ScanOptions> = {}): Promise<string[]> {
  return (await scanned(root, options)).map(({ path }) => path);
}
