import { appendFileSync, chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { bring, type GitClient } from '@codex-remote/client/git';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { GitLab } from './support/lab.ts';

let lab: GitLab;
let marker: string;
beforeEach(() => {
  lab = new GitLab();
  lab.repository('app');
  marker = lab.at('ran');
  writeFileSync(lab.at('evil'), `#!/bin/sh\necho "$0 $*" >> '${marker}'\ncat\n`);
  chmodSync(lab.at('evil'), 0o755);
});
afterEach(() => lab.close());

async function brought(ref: string) {
  const repository = await lab.find('app');
  const address = { machine: 'box', project: 'app', connectWaitMs: 0 };
  const git = lab.machine as unknown as GitClient;
  return bring({ repository, store: lab.store(repository), git, address, ref, includeLarge: false });
}

const configure = (text: string): void => appendFileSync(lab.at('app/.git/config'), text);
const ran = (): string => (existsSync(marker) ? readFileSync(marker, 'utf8') : '');

test('a repository whose fsmonitor, hooks, filters and helpers are programs runs none of them [row 90]', async () => {
  const evil = lab.at('evil');
  lab.write('app', '.gitattributes', '* filter=evil diff=evil merge=evil\n*.p filter=piped\n');
  lab.commit('app');
  for (const hook of [
    'pre-commit',
    'post-index-change',
    'fsmonitor-watchman',
    'reference-transaction',
    'post-checkout',
  ])
    writeFileSync(lab.at('app/.git/hooks', hook), `#!/bin/sh\nexec '${evil}' ${hook}\n`, { mode: 0o755 });
  configure(
    [
      `[core]\n fsmonitor = ${evil}\n hooksPath = .git/hooks\n sshCommand = ${evil}\n pager = ${evil}\n editor = ${evil}`,
      ` alternateRefsCommand = ${evil}\n gitProxy = ${evil}`,
      `[filter "evil"]\n clean = ${evil}\n smudge = ${evil}\n required = true`,
      `[filter "piped"]\n process = ${evil}\n required = true`,
      `[diff "evil"]\n textconv = ${evil}\n command = ${evil}\n[diff]\n external = ${evil}`,
      `[gpg]\n program = ${evil}\n[commit]\n gpgSign = true\n[log]\n showSignature = true`,
      `[uploadpack]\n packObjectsHook = ${evil}\n[alias]\n status = !${evil}\n rev-parse = !${evil}\n`,
    ].join('\n'),
  );
  lab.write('app', 'a', 'changed\n');
  lab.write('app', 'x.p', 'new\n');
  const { commit } = await brought('WORKTREE');
  expect(ran()).toBe('');
  expect([lab.machine.content(commit, 'a'), lab.machine.content(commit, 'x.p')]).toEqual([
    'changed\n',
    'new\n',
  ]);
  // The same repository runs it for git itself: the trap was one.
  lab.git('app', 'status');
  expect(ran()).not.toBe('');
});

test('a filter whose name no command line can hold is refused, not run', async () => {
  lab.write('app', '.gitattributes', '* filter=a=b\n');
  configure(`[filter "a=b"]\n clean = ${lab.at('evil')}\n`);
  await expect(brought('WORKTREE')).rejects.toMatchObject({ code: 'git_failed' });
  expect(ran()).toBe('');
});

test('a submodule is not looked into: its own configuration runs nothing [row 90]', async () => {
  lab.repository('lib');
  lab.git('app', '-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', lab.at('lib'), 'lib');
  lab.commit('app');
  appendFileSync(lab.at('app/.git/modules/lib/config'), `[core]\n fsmonitor = ${lab.at('evil')}\n`);
  lab.write('app/lib', 'a', 'changed\n');
  lab.write('app', 'a', 'changed\n');
  expect((await brought('WORKTREE')).dirty).toBe(true);
  expect(ran()).toBe('');
});

test('what is missing of a partial clone is not fetched from a helper that runs commands [row 89]', async () => {
  lab.write('app', 'b', 'second\n');
  lab.commit('app');
  lab.git('app', 'config', 'uploadpack.allowFilter', 'true');
  lab.git('.', 'clone', '-q', '--no-checkout', '--filter=blob:none', `file://${lab.at('app')}`, 'partial');
  lab.git('partial', 'config', 'remote.origin.url', `ext::${lab.at('evil')} %S`);
  lab.git('partial', 'config', 'protocol.allow', 'always');
  const repository = await lab.find('partial');
  const address = { machine: 'box', project: 'app', connectWaitMs: 0 };
  const git = lab.machine as unknown as GitClient;
  const order = { repository, store: lab.store(repository), git, address, ref: 'HEAD', includeLarge: false };
  await expect(bring(order)).rejects.toMatchObject({ code: 'git_failed' });
  expect(ran()).toBe('');
});

test('GIT_… of the caller means another repository and is not listened to', async () => {
  mkdirSync(lab.at('elsewhere'));
  const before = { ...process.env };
  Object.assign(process.env, {
    GIT_DIR: lab.at('elsewhere'),
    GIT_INDEX_FILE: lab.at('elsewhere/index'),
    GIT_CONFIG_PARAMETERS: "'core.fsmonitor=true'",
    GIT_EXTERNAL_DIFF: lab.at('evil'),
    GIT_TRACE: marker,
  });
  try {
    lab.write('app', 'a', 'changed\n');
    const { commit } = await brought('WORKTREE');
    expect([lab.machine.content(commit, 'a'), ran()]).toEqual(['changed\n', '']);
  } finally {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
  }
});
