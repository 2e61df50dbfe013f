import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import { type ProjectAdd, projectAdd } from '@codex-remote/protocol/schema';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Projects } from '../../src/projects/projects.ts';

const app: ProjectAdd = {
  name: 'app',
  repo: { kind: 'path', path: '/srv/a b\n"c"' },
  machines: ['box'],
  default_ref: 'main',
};
const lib: ProjectAdd = { name: 'lib', repo: { kind: 'url', url: 'git@example.org:lib.git' } };

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'cr-projects-'));
  path = join(dir, 'projects.json');
});
afterEach(() => rmSync(dir, { recursive: true }));
const open = (): Promise<Projects> => Projects.open(path, systemClock);

test('projects are there again after a restart, in the order in which they were added', async () => {
  const projects = await open();
  await Promise.all([projects.add(app), projects.add(lib)]);
  const again = await open();
  expect(again.list()).toMatchObject([app, lib]);
  await again.remove('app');
  expect((await open()).list()).toMatchObject([lib]);
});

test('a name that is taken, and one that is not there, are told so with what to do', async () => {
  const projects = await open();
  await projects.add(app);
  await expect(projects.add(app)).rejects.toMatchObject({ code: 'project_exists' });
  for (const failed of [() => projects.remove('apq'), async () => projects.get('apq')])
    await expect(failed()).rejects.toMatchObject({
      code: 'unknown_project',
      message: 'unknown project "apq"',
      details: {
        sent: 'no',
        hint: expect.stringContaining('did you mean app?'),
        facts: { nearest: ['app'] },
      },
    });
  expect((await open()).list()).toHaveLength(1);
});

test('one that cannot be written is added for nobody', async () => {
  const projects = await open();
  await projects.add(lib);
  rmSync(dir, { recursive: true });
  await expect(projects.add(app)).rejects.toThrow();
  expect(projects.list()).toMatchObject([lib]);
  dir = mkdtempSync(join(tmpdir(), 'cr-projects-'));
});

test('a project is for the machines that it names, and a name that is not registered for all', async () => {
  const projects = await open();
  await projects.add(app);
  await projects.add(lib);
  projects.checkMachine('app', 'box');
  projects.checkMachine('lib', 'other');
  projects.checkMachine('folder-0123456789ab', 'other');
  expect(() => projects.checkMachine('app', 'other')).toThrow('unknown project app on other: it is for box');
});

test('a file with a byte changed is the same projects or state_unusable, never others [row 36]', async () => {
  await (await open()).add(app);
  const bytes = readFileSync(path);
  const whole = (await open()).list();
  for (let at = 0; at < bytes.length; at += 7) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 0x10;
    writeFileSync(path, changed);
    const list = await open().then(
      (projects) => projects.list(),
      (error: unknown) => {
        expect(error).toMatchObject({ code: 'state_unusable', message: expect.stringContaining(path) });
        return whole;
      },
    );
    expect([at, list]).toEqual([at, whole]);
  }
});

test.each([
  ...['', '-x', '.x', 'A', 'a/b', '../x', 'a b', "a'b", '$(x)', 'a\nb', 'a\0b', 'ä', 'а', 'a'.repeat(300)],
])('the project name %j is refused, with the rule [row 91]', (name) => {
  expect(projectAdd.safeParse({ ...lib, name }).error?.issues[0]?.message).toBe(
    'a project name is [a-z0-9][a-z0-9._-]{0,62}',
  );
});

test.each(['ext::sh -c x', '-oProxyCommand=x:y', 'https://a:b@c/d', 'file://host/x', 'http://c/d'])(
  'the URL %s is refused, with the reason [row 89]',
  (url) => {
    const parsed = projectAdd.safeParse({ ...lib, repo: { kind: 'url', url } });
    expect(parsed.error?.issues[0]?.message).toMatch(/^the URL (?:has|names|is) /);
  },
);

test.each(['app', './app', '', '/srv\0'])('the path %j is refused: it is not absolute', (repo) => {
  expect(projectAdd.safeParse({ ...app, repo: { kind: 'path', path: repo } }).success).toBe(false);
});
