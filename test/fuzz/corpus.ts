import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Inputs that were worth keeping, a folder a target, a file an input: what once failed, and what stands for an attack. */
const folder = join(import.meta.dirname, 'corpus');

export function keptInputs(target: string): Uint8Array[] {
  const own = join(folder, target);
  if (!existsSync(own)) return [];
  return readdirSync(own)
    .toSorted()
    .map((name) => new Uint8Array(readFileSync(join(own, name))));
}

/** Where it was written. */
export function keepInput(target: string, bytes: Uint8Array): string {
  const own = join(folder, target);
  mkdirSync(own, { recursive: true });
  const path = join(own, createHash('sha256').update(bytes).digest('hex').slice(0, 16));
  writeFileSync(path, bytes);
  return path;
}
