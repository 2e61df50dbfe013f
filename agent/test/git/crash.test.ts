import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AgentProcess } from '../support/agent-process.ts';
import { ProjectLab } from '../support/project-lab.ts';
import { finished } from '../support/store-lab.ts';
import { waitFor } from '../support/wait-for.ts';

let lab: ProjectLab;
let agent: AgentProcess | undefined;
beforeEach(() => {
  lab = new ProjectLab();
});
afterEach(async () => {
  await agent?.kill();
  agent = undefined;
  lab.close();
});

/** From here on a git of the machine that is to `verb` does so, notes its pid, and does not end. */
function holdGit(verb: string): { pid(): number; release(): void } {
  const [bin, note] = [lab.at('bin'), lab.at('held')];
  mkdirSync(bin);
  const script = [
    '#!/bin/sh',
    `PATH=\${PATH#*:}`,
    `case " $* " in *' ${verb} '*) git "$@"; echo $$ > '${note}.new'; mv '${note}.new' '${note}'; exec sleep 60;; esac`,
    'exec git "$@"',
  ];
  writeFileSync(lab.at('bin/git'), `${script.join('\n')}\n`, { mode: 0o755 });
  writeFileSync(lab.at('.profile'), `PATH='${bin}':$PATH\n`);
  return {
    pid: () => (existsSync(note) ? Number(readFileSync(note, 'utf8')) : 0),
    release: () => rmSync(lab.at('.profile')),
  };
}

const names = (...path: readonly string[]) => readdirSync(lab.at(...path)).sort();

/** Kills the agent while its git is held, and takes over. */
async function killed(held: ReturnType<typeof holdGit>): Promise<void> {
  await waitFor('git', () => held.pid() > 0);
  await agent?.kill();
  held.release();
  lab.reopen();
  await waitFor('the end of its git', () => !lab.table.stat(held.pid()) || isZombie(held.pid()));
  await waitFor('nothing half done', () =>
    ['worktrees', 'git/site'].every((folder) => !names(folder).some((name) => /^(\.|incoming)/.test(name))),
  );
}

function isZombie(pid: number): boolean {
  return !lab.table.all().some((stat) => stat.pid === pid);
}

describe('kill -9 of the agent', () => {
  test.each(['update-ref', 'read-tree'])(
    'while a worktree is made (%s): nothing was accepted, nothing of it is left, and the same line starts it',
    async (verb) => {
      const commit = await lab.commit({ f: '1', g: '2' });
      lab.store.close();
      const held = holdGit(verb);
      agent = await new AgentProcess(lab.home).ready();
      const spec = lab.spec({
        command: { kind: 'cmd', cmd: 'cat f g; git status --porcelain' },
        worktree: lab.repository.spec(commit),
      });
      void agent.start(spec);
      await killed(held);
      expect(() => lab.store.get(spec.exec_id)).toThrow('exec_id not found');
      expect(names('worktrees')).toEqual([]);
      const mirror = lab.at('git/site/mirror.git');
      const refs = () => lab.repository.git('--git-dir', mirror, 'for-each-ref', 'refs/codex-remote/execs');
      await waitFor('no ref', () => refs() === '');
      expect(await lab.store.start({ spec })).toMatchObject({ attached: false });
      finished(await lab.store.ended(spec.exec_id));
      expect(lab.read(spec.exec_id)).toBe('12');
    },
  );

  test('while a workspace is made: the next exec in it has its own commit and what others left, no more', async () => {
    const one = await lab.commit({ f: '1' });
    const two = await lab.commit({ f: '2', only: 'x' });
    await lab.runAt(one, 'echo c > cache', { workspace: 'w' });
    lab.store.close();
    const held = holdGit('read-tree');
    agent = await new AgentProcess(lab.home).ready();
    const worktree = lab.repository.spec(two, { workspace: 'w' });
    void agent.start(lab.spec({ worktree }));
    await killed(held);
    expect(names('workspaces/site/w')).toContain('only');
    expect((await lab.runAt(one, 'cat f; git status --porcelain', { workspace: 'w' })).out).toBe(
      '1?? cache\n',
    );
  });

  test.each(['init', 'index-pack', 'rev-list'])(
    'while commits come in (%s): none of them is there, and they can be sent again',
    async (verb) => {
      const commit = lab.repository.commit({ f: '1' });
      const pack = lab.repository.pack(commit);
      lab.store.close();
      const held = holdGit(verb);
      agent = await new AgentProcess(lab.home).ready();
      void agent.receive('site', commit, pack);
      await killed(held);
      const { projects } = lab.store.git;
      expect(await projects.have({ project: 'site', want: [commit] })).toMatchObject({ has: [], tips: [] });
      await lab.send(commit);
      expect(await projects.have({ project: 'site', want: [commit] })).toMatchObject({ has: [commit] });
    },
  );
});

test('an agent that stops leaves nothing half made, and its next one runs what was queued', async () => {
  const commit = await lab.commit({ f: '1' });
  const first = await lab.start('sleep 60', { queue: 'one' });
  const worktree = lab.repository.spec(commit);
  const { state } = await lab.start('cat f', { queue: 'one', worktree });
  const held = holdGit('read-tree');
  await lab.store.refreshEnvironment();
  await lab.store.cancel(first.state.exec_id, 'KILL', 0);
  await waitFor('git', () => held.pid() > 0);
  lab.store.close();
  await waitFor('no half of it', () => names('worktrees').length === 0);
  held.release();
  lab.store = lab.open();
  finished(await lab.store.ended(state.exec_id));
  expect(lab.read(state.exec_id)).toBe('1');
});

test('a queued exec that is cancelled while its worktree is made does not wait for that', async () => {
  const commit = await lab.commit({ f: '1' });
  const first = await lab.start('sleep 60', { queue: 'one' });
  const { state } = await lab.start('cat f', { queue: 'one', worktree: lab.repository.spec(commit) });
  const held = holdGit('read-tree');
  await lab.store.refreshEnvironment();
  await lab.store.cancel(first.state.exec_id, 'KILL', 0);
  await waitFor('git', () => held.pid() > 0);
  const { state: cancelled } = await lab.store.cancel(state.exec_id, 'TERM', 0);
  expect(cancelled).toMatchObject({ status: 'finished', reason: 'cancelled', exit_code: 130 });
  await waitFor('nothing of it', () => names('worktrees').length === 0);
});
