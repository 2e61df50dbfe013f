import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Cli, cliProgram, freePort, SshLab, TcpProxy, waitFor } from '../src/lab/index.ts';
import { round, sideBySide, timeProcess } from './measure.ts';
import { peakMemory, processesOf } from './processes.ts';

const rounds = Number(process.env.CR_BENCH_ROUNDS ?? 10);
const treeFiles = 50_000;
const filesPerFolder = 100;
const mb = 1024 * 1024;
/** A first push: what does not compress, in files of a size that is common. */
const pushFiles = 64;
const pushFileBytes = Number(process.env.CR_BENCH_PUSH_MB ?? 1024) * (mb / pushFiles);

interface Place {
  readonly lab: SshLab;
  readonly cli: Cli;
  /** A push by us, and by rsync over the same sshd; of a folder here to one there. */
  ours(from: string, to: string): Promise<number>;
  rsync(from: string, to: string): Promise<number>;
}

/** A machine behind an sshd, reached through its tunnel, or `direct` over TLS. */
async function at<T>(kind: 'tunnel' | 'direct', work: (place: Place) => Promise<T>): Promise<T> {
  // rsync cannot be spoken to through what rc files print.
  const lab = await SshLab.open({ user: { noise: false } });
  const plain = await lab.writeConfig(lab.hostBlock('box'));
  // What is to go direct is brought up through something that can be taken away.
  const proxy = kind === 'direct' ? await TcpProxy.open(lab.server.port) : undefined;
  const cli = await Cli.open({
    CODEX_REMOTE_SSH_CONFIG: proxy ? await lab.configThrough(proxy) : plain,
  });
  try {
    await cli.json(['machine', 'up', 'box']);
    if (proxy) {
      const port = await freePort();
      const url = `https://127.0.0.1:${port}`;
      await cli.json(['controller', 'start', '--listen', `127.0.0.1:${port}`, '--public-url', url]);
      await cli.json(['machine', 'up', 'box']);
      await proxy.close();
      await waitFor(
        'the direct connection',
        async () => (await cli.json(['machine', 'show', 'box'])).connection === 'direct',
        40_000,
      );
    }
    const env = cli.env;
    return await work({
      lab,
      cli,
      ours: (from, to) =>
        timeProcess(cliProgram, ['sync', 'push', '-m', 'box', '--src', from, '--dst', to, '--json'], env),
      rsync: (from, to) =>
        timeProcess('rsync', ['-a', '-e', `ssh -F ${plain} -o BatchMode=yes`, `${from}/`, `box:${to}`], env),
    });
  } finally {
    await cli.close();
    await proxy?.close();
    await lab.close();
  }
}

/** 50,000 files that are there already, of which one has changed. */
export function syncSecondRun(): Promise<unknown> {
  return at('tunnel', async ({ lab, ours, rsync }) => {
    const from = join(lab.dir, 'tree');
    for (let folder = 0; folder < treeFiles / filesPerFolder; folder++) {
      await mkdir(join(from, `d${folder}`), { recursive: true });
      for (let file = 0; file < filesPerFolder; file++)
        await writeFile(join(from, `d${folder}/f${file}`), `file ${file} of folder ${folder}\n`.repeat(20));
    }
    let version = 0;
    const change = () => writeFile(join(from, 'd7/f7'), `version ${++version}\n`);
    const figures = await sideBySide(rounds, {
      sync_push: async () => {
        await change();
        return ours(from, 'ours');
      },
      rsync: async () => {
        await change();
        return rsync(from, 'theirs');
      },
    });
    return { files: treeFiles, figures, ratio: ratioOf(figures), goal: '<= 1' };
  });
}

/** What is not there yet. */
export async function syncFirstPush(): Promise<unknown> {
  const result: Record<string, unknown> = { bytes: pushFiles * pushFileBytes };
  for (const [kind, goal] of [
    ['tunnel', '<= 2'],
    ['direct', '<= 1'],
  ] as const)
    result[kind] = await at(kind, async ({ lab, ours, rsync }) => {
      const from = join(lab.dir, 'new');
      await mkdir(from);
      for (let i = 0; i < pushFiles; i++) await writeFile(join(from, `f${i}`), randomBytes(pushFileBytes));
      let count = 0;
      const fresh = async (push: (from: string, to: string) => Promise<number>): Promise<number> => {
        const to = `to${++count}`;
        const ms = await push(from, to);
        await rm(join(lab.user.home, to), { recursive: true });
        return ms;
      };
      const figures = await sideBySide(Math.min(rounds, 5), {
        sync_push: () => fresh(ours),
        rsync: () => fresh(rsync),
      });
      return { figures, ratio: ratioOf(figures), goal };
    });
  return result;
}

/** The most that each of our processes held while it pushed, over what it held before: CLI, controller and agent. */
export function syncMemory(): Promise<unknown> {
  return at('tunnel', async ({ lab, cli, ours }) => {
    const from = join(lab.dir, 'new');
    await mkdir(from);
    for (let i = 0; i < pushFiles; i++) await writeFile(join(from, `f${i}`), randomBytes(pushFileBytes));
    const small = join(lab.dir, 'small');
    await mkdir(small);
    await writeFile(join(small, 'f'), 'f');
    const peaks: Record<string, unknown> = {};
    // What the first push loads is no matter of its size.
    const idle = await peakMemory(await processesOf(cli, 'box'), () => ours(small, 'small'));
    const busy = await peakMemory(await processesOf(cli, 'box'), () => ours(from, 'large'));
    for (const name of ['cli', 'controller', 'agent'] as const)
      peaks[name] = { over_idle_mb: round(busy[name] - idle[name]), peak_mb: busy[name] };
    return { bytes: pushFiles * pushFileBytes, peaks, goal: '<= 64 over idle' };
  });
}

function ratioOf(figures: Readonly<Record<string, { readonly median: number }>>): number {
  return round((figures.sync_push?.median ?? Number.NaN) / (figures.rsync?.median ?? Number.NaN));
}
