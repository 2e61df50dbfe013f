import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type BuildOptions, build } from 'esbuild';

/** Bundles everything that is published: the CLI (hot part and oclif part), the controller, the agent and its shim. */
const root = join(import.meta.dirname, '..');
const out = join(root, 'packages/cli/dist');
const { version } = JSON.parse(await readFile(join(root, 'packages/cli/package.json'), 'utf8')) as {
  version: string;
};

/** Equal sources give equal builds: the id is a hash of what went in, known only after a first pass. */
async function buildId(): Promise<string> {
  const probe = await build({
    ...daemon,
    entryPoints: [entry.controller],
    write: false,
    outfile: 'probe.mjs',
  });
  const hash = createHash('sha256');
  for (const file of probe.outputFiles) hash.update(file.contents);
  return hash.digest('hex').slice(0, 16);
}

const entry = {
  cli: join(root, 'packages/cli/src/main.ts'),
  oclif: join(root, 'packages/cli/src/oclif/main.ts'),
  controller: join(root, 'controller/src/main.ts'),
  agent: join(root, 'agent/src/main.ts'),
};

const common: BuildOptions = {
  bundle: true,
  platform: 'node',
  target: 'node22.15',
  legalComments: 'none',
  logLevel: 'warning',
  // Native extras of ssh2 and msgpackr: both have a JavaScript way, and a bundle that travels carries no binaries.
  external: ['*.node', 'cpu-features', 'msgpackr-extract'],
};

// Bundled CommonJS dependencies still call require() for Node's own modules, and ask where they are.
const commonJs = [
  "import { createRequire as __createRequire } from 'node:module';",
  'const require = __createRequire(import.meta.url);',
  'const __filename = import.meta.filename;',
  'const __dirname = import.meta.dirname;',
].join('\n');
const daemon: BuildOptions = { ...common, format: 'esm', banner: { js: commonJs } };

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
const define = {
  __CODEX_REMOTE_VERSION__: JSON.stringify(version),
  __CODEX_REMOTE_BUILD__: JSON.stringify(await buildId()),
};
await Promise.all([
  build({
    ...common,
    define,
    format: 'cjs',
    target: 'node24',
    entryPoints: [entry.cli],
    outfile: join(out, 'cli.cjs'),
  }),
  build({
    ...common,
    define,
    format: 'cjs',
    target: 'node24',
    entryPoints: [entry.oclif],
    outfile: join(out, 'oclif.cjs'),
  }),
  build({ ...daemon, define, entryPoints: [entry.controller], outfile: join(out, 'controller.mjs') }),
  build({ ...daemon, define, entryPoints: [entry.agent], outfile: join(out, 'agent.mjs') }),
]);
await copyFile(join(root, 'agent/src/exec/shim.sh'), join(out, 'shim.sh'));
await chmod(join(out, 'shim.sh'), 0o644);
