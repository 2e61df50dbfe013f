import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { call, type ExecRecord, encodeRecord, streamId } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FileWriter } from '../../src/files/write-file.ts';
import { createHandler } from '../../src/serve/serve-session.ts';
import { packBody, Repository } from '../support/repository.ts';
import { type SessionPair, sessionPair } from '../support/session-pair.ts';
import { StoreLab } from '../support/store-lab.ts';

let lab: StoreLab;
let pair: SessionPair;
let repository: Repository;
beforeEach(async () => {
  lab = new StoreLab({ spares: 0 });
  repository = new Repository(join(lab.home, 'here'));
  const writer = new FileWriter(join(lab.home, 'writes'));
  pair = await sessionPair(
    createHandler({ store: lab.store, writer, version: '1.2.3', stop: () => undefined, trust: () => 0 }),
  );
});
afterEach(async () => {
  await pair.close();
  lab.close();
});

const ask = (verb: string, params: object, body?: AsyncIterable<Uint8Array>): Promise<unknown> =>
  call(pair.controller, verb, params, body && { body });

async function* content(pack: Buffer, said = pack): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < pack.byteLength; at += 60_000) {
    const bytes = pack.subarray(at, at + 60_000);
    yield encodeRecord({ kind: 'data', stream: streamId.content, offset: at, bytes });
  }
  const sha256 = createHash('sha256').update(said).digest('hex');
  const end: ExecRecord = { kind: 'event', value: { end: { bytes: said.byteLength, sha256 } } };
  yield encodeRecord(end);
}

const order = (commit: string, more: object = {}) => ({
  ...{ project: 'site', commit, shallow: [] },
  object_format: commit.length === 64 ? 'sha256' : 'sha1',
  ...more,
});
const send = (commit: string, pack: Buffer, more: object = {}) =>
  ask('git.receive', order(commit, more), content(pack));
const have = (want: readonly string[]) => ask('git.have', { project: 'site', want });
const packs = () =>
  readdirSync(join(lab.home, 'git/site/mirror.git/objects/pack')).filter((name) => name.endsWith('.pack'));

describe('commits that are sent', () => {
  test('are there with their trees, and the next packfile holds only what is new', async () => {
    const first = repository.commit({ 'a file': 'x'.repeat(100_000), 'd/b': 'b' });
    expect(await have([first])).toEqual({
      ...{ exists: false, object_format: 'sha1', shallow: [], has: [], tips: [] },
    });
    expect(await send(first, repository.pack(first))).toEqual({
      commit: first,
      tree: repository.tree(first),
    });
    const second = repository.commit({ 'd/b': 'c' });
    expect(await have([second, first])).toMatchObject({ exists: true, has: [first], tips: [first] });
    const thin = repository.pack(second, [first]);
    expect(thin.byteLength).toBeLessThan(1_000);
    expect(await send(second, thin)).toEqual({ commit: second, tree: repository.tree(second) });
    expect(await have([second])).toMatchObject({ has: [second], tips: [second, first] });
    expect(await send(second, thin)).toEqual({ commit: second, tree: repository.tree(second) });
  });

  test.each(['sha1', 'sha256'] as const)('of a %s repository have a mirror of their own', async (format) => {
    const other = new Repository(join(lab.home, format), format);
    const commit = other.commit({ f: '1' });
    expect(await send(commit, other.pack(commit))).toEqual({ commit, tree: other.tree(commit) });
    expect(await have([commit])).toMatchObject({ object_format: format, has: [commit] });
    const mine = repository.commit({ g: '1' });
    expect(await send(mine, repository.pack(mine))).toMatchObject({ commit: mine });
    expect(await have([commit])).toMatchObject({ has: [commit] });
  });

  test('of a shallow clone are whole without their parents, and become deep when those come', async () => {
    repository.commit({ f: '1' });
    const last = repository.commit({ f: '2' });
    const clone = new Repository(join(lab.home, 'clone'));
    clone.git('fetch', '-q', '--depth', '1', `file://${repository.path}`, 'main');
    const pack = clone.pack(last);
    await expect(send(last, pack)).rejects.toMatchObject({ code: 'git_failed' });
    expect(await send(last, pack, { shallow: [last] })).toMatchObject({ commit: last });
    expect(await have([last])).toMatchObject({ shallow: [last], has: [last] });
    clone.git('reset', '-q', '--hard', last);
    const next = clone.commit({ f: '3' });
    expect(await send(next, clone.pack(next, [last]), { shallow: [last] })).toMatchObject({ commit: next });
    expect(await send(last, repository.pack(last))).toMatchObject({ commit: last });
    expect(await have([next])).toMatchObject({ shallow: [], has: [next] });
  });

  test('of two senders at once are both there', async () => {
    const commits = ['one', 'two', 'three'].map((text) => repository.commit({ [text]: text.repeat(50_000) }));
    await Promise.all(commits.map((commit) => send(commit, repository.pack(commit))));
    expect(await have(commits)).toMatchObject({ has: commits });
  });

  test('are refused whole where the packfile is cut, another, or lacks what the commit reaches', async () => {
    const first = repository.commit({ f: '1', big: Buffer.alloc(200_000, 'ab').toString('base64') });
    const second = repository.commit({ f: '2' });
    const whole = repository.pack(second);
    const cut = whole.subarray(0, whole.byteLength - 30);
    await expect(send(second, cut)).rejects.toMatchObject({ code: 'git_failed' });
    const lied = ask('git.receive', order(second), content(whole, Buffer.from('other')));
    await expect(lied).rejects.toMatchObject({ code: 'stream_cut' });
    async function* endless() {
      yield* (async function* () {
        for await (const record of content(whole)) {
          yield record;
          break;
        }
      })();
    }
    await expect(ask('git.receive', order(second), endless())).rejects.toMatchObject({ code: 'stream_cut' });
    await expect(send(second, repository.pack(second, [first]))).rejects.toMatchObject({
      code: 'git_failed',
    });
    await expect(send('0'.repeat(40), whole)).rejects.toMatchObject({ code: 'git_failed' });
    expect(await have([first, second])).toMatchObject({ exists: true, has: [], tips: [] });
    expect(packs()).toEqual([]);
    expect(readdirSync(join(lab.home, 'git/site'))).toEqual(['mirror.git']);
  });

  test('are not waited for where nobody sends any more', async () => {
    const commit = repository.commit({ big: Buffer.alloc(300_000, 'q') });
    const gone = new AbortController();
    const { projects } = lab.store.git;
    const body = packBody(repository.pack(commit), () => gone.abort());
    const params = { project: 'site', commit, object_format: 'sha1' as const, shallow: [] };
    await expect(projects.receive(params, body, gone.signal)).rejects.toMatchObject({ code: 'cancelled' });
    expect(readdirSync(join(lab.home, 'git/site'))).toEqual(['mirror.git']);
  });

  test.each(['read-only', 'allow'] as const)('are refused under the policy %s', async (mode) => {
    lab.store.policy.replace({ mode });
    const commit = repository.commit({ f: '1' });
    const pack = repository.pack(commit);
    await expect(send(commit, pack)).rejects.toMatchObject({ code: 'policy_refused' });
    for (const [verb, params] of [
      ['git.fetch', { project: 'site', url: 'https://x/y', ref: 'main' }],
      ['git.remove', { project: 'site' }],
    ] as const)
      await expect(ask(verb, params)).rejects.toMatchObject({ code: 'policy_refused' });
    const start = lab.start('true', { worktree: repository.spec(commit) });
    await expect(start).rejects.toMatchObject({ code: 'policy_refused' });
  });

  test.each([
    ['git.have', { project: '../x', want: ['0'.repeat(40)] }],
    ['git.have', { project: 'site', want: ['--all'] }],
    ['git.have', { project: 'site', want: ['0'.repeat(40), '0'.repeat(64)] }],
    ['git.receive', { project: 'site', commit: 'main', object_format: 'sha1', shallow: [] }],
    ['git.fetch', { project: 'site', url: 'ext::sh -c touch', ref: 'main' }],
    ['git.fetch', { project: 'site', url: '--upload-pack=x', ref: 'main' }],
    ['git.remove', { project: '-x' }],
  ])('%s with %j is wrong usage, and nothing is made', async (verb, params) => {
    await expect(ask(verb, params)).rejects.toMatchObject({ code: 'usage' });
    expect(existsSync(join(lab.home, 'git/x'))).toBe(false);
  });

  test('need git there, which is told before anything is sent', async () => {
    const store = lab.reopen();
    const login = await store.environment.current();
    mkdirSync(join(lab.home, 'empty'));
    Object.assign(login.env, { PATH: join(lab.home, 'empty') });
    const commit = repository.commit({ f: '1' });
    await expect(store.git.projects.have({ project: 'site', want: [commit] })).rejects.toMatchObject({
      code: 'git_missing',
    });
  });
});
