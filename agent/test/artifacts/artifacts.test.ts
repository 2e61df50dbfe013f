import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Failpoint, systemClock } from '@codex-remote/platform';
import type { ArtifactFile, ArtifactsState, ExecSpec } from '@codex-remote/protocol/schema';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { keptFiles, keptPath } from '../../src/artifacts/kept.ts';
import { AgentProcess } from '../support/agent-process.ts';
import { type Finished, finished, StoreLab } from '../support/store-lab.ts';
import { waitFor } from '../support/wait-for.ts';

let lab: StoreLab;
let work: string;
beforeEach(() => {
  lab = new StoreLab({ artifacts: { maxFiles: 20, maxBytes: 1_000_000, reserveBytes: 0 } });
  work = join(lab.home, 'work');
  mkdirSync(work);
});
afterEach(() => lab.close());

const sha256 = (text: string | Buffer) => createHash('sha256').update(text).digest('hex');

function write(path: string, text: string | Buffer = path): void {
  mkdirSync(join(work, path, '..'), { recursive: true });
  writeFileSync(join(work, path), text);
}

/** An exec in `work` that keeps what the globs name. */
const run = (globs: string[], cmd = 'exit 7', more: Partial<ExecSpec> = {}): Promise<Finished> =>
  lab.run(cmd, { cwd: work, ...(globs.length > 0 && { artifacts: globs }), ...more });

const nameOf = ({ path, path_b64 }: { path?: string; path_b64?: string }) => path ?? `b64:${path_b64}`;
const names = (state: { artifacts?: ArtifactsState }) => state.artifacts?.files.map(nameOf).sort();
const skips = (state: { artifacts?: ArtifactsState }) =>
  Object.fromEntries((state.artifacts?.skipped ?? []).map((one) => [nameOf(one), one.why]));

const folderOf = (id: string) => join(lab.home, 'execs', id, 'artifacts');
const copyOf = (id: string, path: string) => keptPath(folderOf(id), Buffer.from(path));

describe('what matches when an exec ends', () => {
  it('is kept as it was then, with its size and SHA-256, and told with the exit code', async () => {
    write('old.txt', 'before');
    const end = await run(
      ['*.txt', 'out/**', 'bin'],
      'echo new >new.txt; mkdir -p out/deep; echo d >out/deep/d; mkdir bin; echo b >bin/.b; exit 7',
    );
    expect(end).toMatchObject({ exit_code: 7, artifacts: { count: 4, bytes: 6 + 4 + 2 + 2 } });
    expect(end.artifacts).not.toHaveProperty('skipped');
    expect(names(end)).toEqual(['bin/.b', 'new.txt', 'old.txt', 'out/deep/d']);
    const file = end.artifacts?.files.find(({ path }) => path === 'new.txt');
    expect(file).toMatchObject({ size: 4, sha256: sha256('new\n') });
    rmSync(work, { recursive: true });
    const copy = copyOf(end.exec_id, 'new.txt');
    expect(readFileSync(copy, 'utf8')).toBe('new\n');
    expect(statSync(copy).mode & 0o777).toBe(0o600);
    expect(lab.reopen().get(end.exec_id)).toEqual(end);
  });

  it('is found by any name, also one that is no text', async () => {
    const odd = ['-n', 'a b', 'a\nb', '$(touch x)', 'caf\u00e9', '*'];
    for (const name of odd) write(`out/${name}`);
    const bytes = Buffer.from([0xff, 0xfe]);
    writeFileSync(Buffer.concat([Buffer.from(`${work}/out/`), bytes]), 'bytes');
    const end = await run(['out/*']);
    expect(names(end)).toEqual(
      [
        ...odd.map((name) => `out/${name}`),
        `b64:${Buffer.concat([Buffer.from('out/'), bytes]).toString('base64')}`,
      ].sort(),
    );
    for (const name of odd)
      expect(readFileSync(copyOf(end.exec_id, `out/${name}`), 'utf8')).toBe(`out/${name}`);
  });

  it('is never outside, nor a link, a device or what git keeps for itself; what is left out is named', async () => {
    writeFileSync(join(lab.home, 'secret'), 'secret');
    mkdirSync(join(lab.home, 'elsewhere'));
    writeFileSync(join(lab.home, 'elsewhere/secret'), 'secret');
    symlinkSync('../secret', join(work, 'link'));
    symlinkSync('../elsewhere', join(work, 'linked'));
    write('.git/config');
    write('sub/.git/config');
    write('sub/x');
    const end = await run(['link', 'linked/secret', 'pipe', '.git', 'sub', 'none*'], 'mkfifo pipe');
    expect(names(end)).toEqual(['sub/x']);
    expect(skips(end)).toEqual({
      link: 'symlink',
      'linked/secret': 'no_match',
      pipe: 'not_regular',
      '.git': 'git',
      'sub/.git': 'git',
      'none*': 'no_match',
    });
    const refused = lab.start('true', { artifacts: ['{a,b}'.repeat(30)] });
    await expect(refused).rejects.toMatchObject({ code: 'usage' });
  });

  it('has limits: what is over them is left out and counted', async () => {
    for (let i = 0; i < 60; i++) write(`many/${i}`, 'x');
    write('big', Buffer.alloc(999_990));
    write('small', 'x');
    const end = await run(['many', 'big', 'small']);
    expect(end.artifacts).toMatchObject({ count: 20, skipped_count: 42 });
    expect(end.artifacts?.skipped).toHaveLength(20);
    const two = await run(['big', 'small', 'many/1*']);
    expect(two.artifacts).toMatchObject({ count: 11, bytes: 1_000_000, skipped_count: 2 });
    expect(new Set(Object.values(skips(two)))).toEqual(new Set(['too_large']));
  });

  it('is kept of an exec that was cancelled or ended by its limit of time', async () => {
    const stubborn = 'echo half >half; sleep 60';
    const { state } = await lab.start(stubborn, { cwd: work, artifacts: ['half'] });
    await waitFor('the file', () => existsSync(join(work, 'half')));
    const { state: cancelled } = await lab.store.cancel(state.exec_id, 'TERM', 10_000);
    expect(cancelled).toMatchObject({ status: 'finished', reason: 'cancelled', artifacts: { count: 1 } });
    expect(await run(['half'], 'sleep 60', { timeout_ms: 100 })).toMatchObject({
      reason: 'timeout',
      artifacts: { count: 1 },
    });
  });

  it('cannot be found where the directory is gone: the exit code is told with why', async () => {
    const end = await run(['x'], `rm -r ${work}; exit 7`);
    expect(end).toMatchObject({
      exit_code: 7,
      artifacts: { count: 0, error: expect.stringContaining('ENOENT') },
    });
  });

  it('names the first 200 files in the state and lists all of them', async () => {
    lab.close();
    lab = new StoreLab();
    work = join(lab.home, 'work');
    const end = await run(['*'], 'mkdir -p .; for i in $(seq 250); do echo $i >$i; done', { cwd: lab.home });
    expect(end.artifacts?.count).toBeGreaterThanOrEqual(250);
    expect(end.artifacts?.files.length).toBeLessThanOrEqual(200);
    const listed: ArtifactFile[] = [];
    for await (const file of keptFiles(join(lab.home, 'execs', end.exec_id))) listed.push(file);
    expect(listed).toHaveLength(end.artifacts?.count ?? 0);
  });
});

describe("codex-runner's list of artifacts", () => {
  const list = (artifacts: unknown) =>
    `mkdir -p .codex; cat >.codex/artifacts.json <<'END'\n${JSON.stringify({ version: '1', artifacts })}\nEND\n`;

  it('is honoured where the exec wrote it, without any flag', async () => {
    const cmd = `${list([
      { name: 'report', type: 'file', path: 'report.md' },
      { name: 'gone', type: 'file', path: 'gone.md' },
      { path: join(work, 'out') },
      { path: '../secret' },
      'plain*',
      { url: 'https://example.invalid' },
    ])} echo r >report.md; mkdir out; echo o >out/o; touch 'plain*' plainer`;
    const end = await run([], cmd);
    expect(end.artifacts).toMatchObject({ manifest: 'codex-runner', count: 3 });
    expect(names(end)).toEqual(['out/o', 'plain*', 'report.md']);
    expect(end.artifacts?.files.find(({ path }) => path === 'report.md')).toMatchObject({
      name: 'report',
      type: 'file',
    });
    expect(skips(end)).toEqual({ 'gone.md': 'no_match', '../secret': 'outside' });
  });

  it('that an earlier exec left is not of this one', async () => {
    await run([], `${list([{ path: 'report.md' }])} echo r >report.md`);
    const hourMs = 3_600_000;
    const later = { ...systemClock, wall: () => Date.now() + hourMs };
    lab.reopen({ clock: later });
    expect(await run([], 'true')).not.toHaveProperty('artifacts');
  });

  it('that is none is told, and so is what else was asked for', async () => {
    write('x');
    const end = await run(['x'], 'mkdir .codex; echo "{" >.codex/artifacts.json');
    expect(end.artifacts).toMatchObject({
      count: 1,
      manifest: 'codex-runner',
      error: '.codex/artifacts.json is not valid JSON',
    });
  });
});

describe('an agent that is killed while it keeps them', () => {
  it.each<Failpoint>(['agent.artifacts.before', 'agent.artifacts.after'])(
    '%s: the next one tells the same, once, and leaves nothing half',
    async (point) => {
      lab.store.close();
      write('x', 'first');
      const spec = lab.spec({ command: { kind: 'cmd', cmd: 'exit 7' }, cwd: work, artifacts: ['x'] });
      const agent = await new AgentProcess(lab.home, point).ready();
      await agent.start(spec);
      await agent.died();
      // What was brought to its end is what is told; before, it is as it is now.
      const told = point === 'agent.artifacts.after' ? 'first' : 'second';
      write('x', 'second');
      const store = lab.reopen();
      const end = finished(await store.ended(spec.exec_id));
      expect(end).toMatchObject({
        exit_code: 7,
        artifacts: { count: 1, files: [{ path: 'x', sha256: sha256(told) }] },
      });
      expect(readFileSync(copyOf(spec.exec_id, 'x'), 'utf8')).toBe(told);
      expect(lab.read(spec.exec_id, 'journal').match(/\{"end"/g)).toHaveLength(1);
      const left = readdirSync(join(lab.home, 'execs', spec.exec_id)).filter((name) =>
        name.startsWith('artifacts'),
      );
      expect(left).toEqual(['artifacts']);
    },
  );
});

it('execs go with their artifacts when those together are over the limit', async () => {
  lab.reopen({ retention: { maxCount: 100, maxAgeMs: 1e9, maxTotalBytes: 1_000 } });
  write('x', Buffer.alloc(900));
  const [one, two] = [await run(['x']), await run(['x'])];
  lab.store.acknowledge([one.exec_id, two.exec_id]);
  await waitFor('the older one to go', () => !existsSync(folderOf(one.exec_id)));
  expect(existsSync(folderOf(two.exec_id))).toBe(true);
});

/** Some kernels forbid user namespaces; then a full disk cannot be had without root. */
const allowed = spawnSync('unshare', ['-rm', 'true']).status === 0;

describe.skipIf(!allowed)('a disk without room (skipped where unshare -rm is not permitted)', () => {
  it.each([
    ['no_room', { count: 1, skipped: [{ path: 'large', why: 'disk_low' }] }],
    ['full', { count: 0, error: 'the disk of the machine is full' }],
  ])('%s: the exit code is told with what could be kept, and nothing is left half', (what, artifacts) => {
    const mountPoint = join(lab.home, 'disk');
    mkdirSync(mountPoint);
    const fixture = join(import.meta.dirname, '../fixtures/full-disk-artifacts.ts');
    const output = execFileSync('unshare', ['-rm', process.execPath, fixture, mountPoint, what], {
      encoding: 'utf8',
    });
    const { end, left } = JSON.parse(output);
    expect(end).toMatchObject({ status: 'finished', exit_code: 7, artifacts });
    // Where the end could not be noted, the next agent tells it again, with what there is room for by then.
    expect(JSON.parse(output).again).toMatchObject({ status: 'finished', exit_code: 7 });
    expect(left.filter((name: string) => name !== 'artifacts')).toEqual([]);
  });
});
