import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Cli, cliProgram, SshLab } from '../src/lab/index.ts';
import { round, sideBySide, timeProcess } from './measure.ts';

const run = promisify(execFile);

const rounds = Number(process.env.CR_BENCH_ROUNDS ?? 10);
const repositoryFiles = 50_000;
const filesPerFolder = 100;

/**
 * A repository of 50,000 files of which one has changed since the last time: what runs there with the uncommitted tree, beside
 * a commit, `git push` to a bare repository over the same sshd, and a checkout: into the tree that is there, as into a workspace,
 * or a new one.
 */
export async function secondWorktree(): Promise<unknown> {
  // Git cannot be spoken to through what rc files print.
  const lab = await SshLab.open({ user: { noise: false } });
  const config = await lab.writeConfig(lab.hostBlock('box'));
  const cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: config });
  try {
    await cli.json(['machine', 'up', 'box']);
    const env = { ...cli.env, GIT_SSH_COMMAND: `ssh -F ${config} -o BatchMode=yes` };
    const ours = await makeRepository(join(lab.dir, 'ours'));
    const pushed = await makeRepository(join(lab.dir, 'pushed'));
    const there = (line: string) =>
      timeProcess('ssh', ['-F', config, '-o', 'BatchMode=yes', 'box', line], env);
    await there('git init -q --bare bare.git && mkdir tree');
    let version = 0;
    const change = (repository: string) => writeFile(join(repository, 'd7/f7'), `version ${++version}\n`);
    const exec = (...flags: string[]) =>
      timeProcess(
        '/bin/sh',
        [
          '-c',
          'cd "$1" && shift && exec "$@"',
          'sh',
          ours,
          cliProgram,
          'exec',
          'run',
          '-m',
          'box',
          '--project',
          '.',
          '--ref',
          'WORKTREE',
          ...flags,
          '--',
          'true',
        ],
        env,
      );
    const push = async (then: string): Promise<number> => {
      await change(pushed);
      const began = performance.now();
      await timeProcess('git', ['-C', pushed, 'commit', '-qam', `version ${version}`], env);
      await timeProcess('git', ['-C', pushed, 'push', '-qf', 'box:bare.git', 'HEAD:refs/heads/main'], env);
      await there(then);
      return performance.now() - began;
    };
    const figures = await sideBySide(rounds, {
      exec_run_workspace: async () => {
        await change(ours);
        return exec('--workspace', 'bench');
      },
      exec_run_new_worktree: async () => {
        await change(ours);
        return exec();
      },
      git_push_and_checkout: () => push('git --git-dir=bare.git --work-tree=tree checkout -qf main'),
      git_push_and_new_worktree: () =>
        push(`git --git-dir=bare.git worktree add -qf --detach $PWD/new${++version} main`),
    });
    const ratio = (ours: string, peer: string) =>
      round((figures[ours]?.median ?? Number.NaN) / (figures[peer]?.median ?? Number.NaN));
    return {
      files: repositoryFiles,
      figures,
      workspace_to_push_and_checkout: {
        ratio: ratio('exec_run_workspace', 'git_push_and_checkout'),
        goal: '<= 1',
      },
      new_worktree_to_push_and_new_worktree: {
        ratio: ratio('exec_run_new_worktree', 'git_push_and_new_worktree'),
        goal: '<= 1',
      },
    };
  } finally {
    await cli.close();
    await lab.close();
  }
}

/** Committed, all of it. */
async function makeRepository(folder: string): Promise<string> {
  await rm(folder, { recursive: true, force: true });
  for (let at = 0; at < repositoryFiles / filesPerFolder; at++) {
    const sub = join(folder, `d${at}`);
    await mkdir(sub, { recursive: true });
    await Promise.all(
      Array.from({ length: filesPerFolder }, (_, file) =>
        writeFile(join(sub, `f${file}`), `file ${file} of folder ${at}\n`.repeat(20)),
      ),
    );
  }
  const git = (...args: string[]) =>
    run('git', ['-C', folder, '-c', 'user.name=bench', '-c', 'user.email=bench@example.com', ...args]);
  await git('init', '-q', '-b', 'main');
  await git('config', 'user.name', 'bench');
  await git('config', 'user.email', 'bench@example.com');
  await git('add', '-A');
  await git('commit', '-qm', 'all of it');
  return folder;
}
