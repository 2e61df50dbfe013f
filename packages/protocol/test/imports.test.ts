import { readdirSync, readFileSync } from 'node:fs';
import { build } from 'esbuild';
import { describe, expect, test } from 'vitest';

const wire = new URL('../src/wire/', import.meta.url);

async function bundle() {
  return build({
    entryPoints: [new URL('index.ts', wire).pathname],
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'node',
    logLevel: 'silent',
  });
}

describe('the wire entry', () => {
  test('carries msgpackr and nothing else: no zod, no module of the system, no code made from strings', async () => {
    const { metafile, outputFiles } = await bundle();
    const packages = Object.keys(metafile.inputs).filter((path) => path.includes('node_modules'));
    expect(packages.map((path) => path.replace(/.*node_modules\//, ''))).toEqual([
      'msgpackr/dist/index-no-eval.cjs',
    ]);
    const imported = Object.values(metafile.outputs).flatMap((output) => output.imports);
    expect(imported).toEqual([]);
    const code = outputFiles[0]?.text ?? '';
    expect(code).not.toMatch(/new Function\(|\beval\(/);
  });

  test('works as a bundle', async () => {
    const { outputFiles } = await bundle();
    const source = Buffer.from(outputFiles[0]?.contents ?? []).toString('base64');
    const bundled: typeof import('../src/wire/index.ts') = await import(
      /* @vite-ignore */ `data:text/javascript;base64,${source}`
    );
    expect(bundled.decodeMessage(bundled.encodeMessage({ a: [1, 'é'] }))).toEqual({ a: [1, 'é'] });
  });

  test('starts no timer of its own', () => {
    for (const file of readdirSync(wire)) {
      const code = readFileSync(new URL(file, wire), 'utf8');
      expect(code, file).not.toMatch(/\b(setTimeout|setInterval|setImmediate|Date\.now|performance)\b/);
    }
  });
});
