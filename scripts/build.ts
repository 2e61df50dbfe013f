import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { type BuildOptions, build, type Plugin } from 'esbuild';

/** Bundles everything that is published: the CLI (a file each to begin with, for what is hot, for all, for trees and for oclif), the controller, the agent and its scripts. */
const root = join(import.meta.dirname, '..');
const dist = join(root, 'packages/cli/dist');
const packaged = JSON.parse(await readFile(join(root, 'packages/cli/package.json'), 'utf8')) as {
  version: string;
};
/** Tests make other releases with them: `--out DIR --version 0.2.0`. */
const { values: asked } = parseArgs({ options: { out: { type: 'string' }, version: { type: 'string' } } });
const version = asked.version ?? packaged.version;

const entry = {
  boot: join(root, 'packages/cli/src/boot.ts'),
  hot: join(root, 'packages/cli/src/hot-main.ts'),
  cli: join(root, 'packages/cli/src/main.ts'),
  oclif: join(root, 'packages/cli/src/oclif/main.ts'),
  sync: join(root, 'packages/cli/src/sync-main.ts'),
  controller: join(root, 'controller/src/main.ts'),
  agent: join(root, 'agent/src/main.ts'),
};

/** zod brings its messages in sixty languages: a third of the agent, and ours are English. */
const zodInEnglish: Plugin = {
  name: 'zod-in-english',
  setup({ onLoad }) {
    onLoad({ filter: /\/zod\/v4\/locales\/index\.js$/ }, ({ path }) => ({
      contents: "export { default as en } from './en.js';",
      resolveDir: dirname(path),
    }));
  },
};

/** See `controller/src/ssh/ssh2-crypto.ts`. */
const quickKeysForSsh2: Plugin = {
  name: 'quick-keys-for-ssh2',
  setup({ onResolve }) {
    onResolve({ filter: /^crypto$/ }, ({ importer }) =>
      importer.endsWith('/ssh2/lib/protocol/crypto.js')
        ? { path: join(root, 'controller/src/ssh/ssh2-crypto.ts') }
        : undefined,
    );
  },
};

const common: BuildOptions = {
  bundle: true,
  // Less to read at every start and to hold in memory; names stay, for stack traces.
  minifySyntax: true,
  minifyWhitespace: true,
  lineLimit: 200,
  plugins: [zodInEnglish, quickKeysForSsh2],
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
const program: BuildOptions = { ...common, format: 'cjs', target: 'node24' };
/** Commands that need it are run from `sync.cjs`. */
const withoutTrees = [...(common.external ?? []), './trees.ts'];

/**
 * All programs into `out`. `failpoints`: with the moments at which tests end them; in what is released no call is left.
 */
async function bundleInto(out: string, failpoints: boolean): Promise<void> {
  const defineFailpoints = { __CODEX_REMOTE_FAILPOINTS__: String(failpoints) };
  const define = {
    ...defineFailpoints,
    __CODEX_REMOTE_VERSION__: JSON.stringify(version),
    __CODEX_REMOTE_BUILD__: JSON.stringify(await buildId(defineFailpoints)),
  };
  await mkdir(out, { recursive: true });
  // Made beside it and renamed into place: a program that is started meanwhile finds the old bundles or the new ones.
  const fresh = await mkdtemp(join(out, '.new-'));
  await Promise.all([
    ...(['hot', 'cli'] as const).map((name) =>
      build({
        ...program,
        define,
        external: withoutTrees,
        // boot.cjs compiles it as a script.
        supported: { 'dynamic-import': false },
        entryPoints: [entry[name]],
        outfile: join(fresh, `${name}.cjs`),
      }),
    ),
    build({
      ...program,
      define,
      external: withoutTrees,
      entryPoints: [entry.oclif],
      outfile: join(fresh, 'oclif.cjs'),
    }),
    build({ ...program, define, entryPoints: [entry.sync], outfile: join(fresh, 'sync.cjs') }),
    build({ ...daemon, define, entryPoints: [entry.controller], outfile: join(fresh, 'controller.mjs') }),
    build({ ...daemon, define, entryPoints: [entry.agent], outfile: join(fresh, 'agent.mjs') }),
  ]);
  const hashOf = async (name: string): Promise<string> =>
    JSON.stringify(sha256(await readFile(join(fresh, name))).slice(0, 16));
  await build({
    ...program,
    define: {
      __CODEX_REMOTE_HOT__: await hashOf('hot.cjs'),
      __CODEX_REMOTE_CLI__: await hashOf('cli.cjs'),
    },
    entryPoints: [entry.boot],
    outfile: join(fresh, 'boot.cjs'),
  });
  for (const script of ['shim/shim.sh', 'service/keeper.sh']) {
    await copyFile(join(root, 'agent/src', script), join(fresh, basename(script)));
    await chmod(join(fresh, basename(script)), 0o644);
  }
  // It knows the others by their hash.
  const inOrder = (await readdir(fresh)).sort((a, b) => Number(a === 'boot.cjs') - Number(b === 'boot.cjs'));
  for (const name of inOrder) await rename(join(fresh, name), join(out, name));
  await rm(fresh, { recursive: true });
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Equal sources give equal builds: the id is a hash of what went into the daemons, known only after a first pass. */
async function buildId(define: Record<string, string>): Promise<string> {
  const hash = createHash('sha256').update(version);
  for (const entryPoint of [entry.controller, entry.agent]) {
    const probe = await build({
      ...daemon,
      define,
      entryPoints: [entryPoint],
      write: false,
      outfile: 'probe.mjs',
    });
    for (const file of probe.outputFiles) hash.update(file.contents);
  }
  return hash.digest('hex').slice(0, 16);
}

await bundleInto(asked.out ?? dist, false);
// For tests alone: npm packs the files of `dist`, not its folders.
if (asked.out === undefined) await bundleInto(join(dist, 'failpoints'), true);
