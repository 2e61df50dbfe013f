import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { call, type ExecRecord, encodeRecord, streamId } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FileWriter } from '../../src/files/write-file.ts';
import { createHandler } from '../../src/serve/serve-session.ts';
import { type SessionPair, sessionPair } from '../support/session-pair.ts';
import { StoreLab } from '../support/store-lab.ts';

let lab: StoreLab;
let pair: SessionPair;
beforeEach(async () => {
  lab = new StoreLab();
  const writer = new FileWriter(join(lab.home, 'writes'));
  pair = await sessionPair(
    createHandler({ store: lab.store, writer, version: '1.2.3', stop: () => undefined, trust: () => 0 }),
  );
});
afterEach(async () => {
  await pair.close();
  lab.close();
});

const here = (name: string): string => join(lab.home, name);
const ask = (verb: string, params: object, body?: readonly ExecRecord[]): Promise<unknown> =>
  call(pair.controller, verb, params, body && { body: records(body) });

async function* records(body: readonly ExecRecord[]): AsyncGenerator<Uint8Array> {
  for (const record of body) yield encodeRecord(record);
}

const path = Buffer.from('f');
const order = { path, write_id: '0123456789abcdef', create_only: false, parents: false };
const data = (text: string, offset = 0): ExecRecord => ({
  kind: 'data',
  stream: streamId.content,
  offset,
  bytes: Buffer.from(text),
});
const end = (text: string): ExecRecord => ({
  kind: 'event',
  value: {
    end: {
      bytes: Buffer.byteLength(text),
      sha256: createHash('sha256').update(text).digest('hex'),
    },
  },
});

describe('the verbs about files', () => {
  test('write what comes in records, remove, and make', async () => {
    const body = [data('one '), data('two', 4), end('one two')];
    expect(await ask('file.write', order, body)).toMatchObject({ path: here('f'), size: 7, created: true });
    expect(readFileSync(here('f'), 'utf8')).toBe('one two');
    expect(await ask('file.remove', { path, recursive: false })).toMatchObject({ type: 'file', removed: 1 });
    expect(await ask('file.mkdir', { path, parents: false, mode: 0o711 })).toMatchObject({ mode: 0o711 });
    expect(await ask('file.stat', { path, sha256: false })).toMatchObject({ type: 'directory', mode: 0o711 });
  });

  test.each<[string, readonly ExecRecord[], string]>([
    ['a gap', [data('x', 1), end('x')], 'protocol_error'],
    ['another stream', [{ kind: 'data', stream: streamId.stdin, offset: 0, bytes: path }], 'protocol_error'],
    ['more after the end', [data('x'), end('x'), data('y', 1)], 'protocol_error'],
    ['an event that is none', [{ kind: 'event', value: { end: { bytes: -1 } } }], 'protocol_error'],
    ['no end', [data('x')], 'stream_cut'],
    ['another digest', [data('x'), end('y')], 'stream_cut'],
  ])('refuse a body with %s, and leave nothing of it', async (_what, body, code) => {
    await expect(ask('file.write', order, body)).rejects.toMatchObject({ code });
    expect(existsSync(here('f'))).toBe(false);
    expect(readdirSync(lab.home).filter((name) => name.startsWith('.cr-'))).toEqual([]);
  });

  test.each([
    ['file.read', { path: Buffer.from(''), from: 0 }],
    ['file.read', { path: Buffer.from('a\0b'), from: 0 }],
    ['file.read', { path: 'text', from: 0 }],
    ['file.stat', { path: Buffer.alloc(5000, 'x'), sha256: false }],
    ['file.list', { path, limit: 0 }],
    ['file.list', { path, limit: 5, cursor: '../' }],
    ['file.write', { ...order, write_id: '../../../../../x' }],
    ['file.write', { ...order, mode: 0o10000 }],
    ['file.remove', { path }],
  ])('refuse %s with %j as wrong usage', async (verb, params) => {
    await expect(ask(verb, params)).rejects.toMatchObject({ code: 'usage' });
  });

  test.each(['read-only', 'allow'] as const)(
    'change nothing under the policy %s, whatever the controller thinks, and go on reading',
    async (mode) => {
      lab.store.policy.replace({ mode });
      writeFileSync(here('g'), 'kept');
      mkdirSync(here('d'));
      const refused = { code: 'policy_refused', details: { facts: { policy: mode, refused_by: 'agent' } } };
      const g = Buffer.from('g');
      await expect(ask('file.write', { ...order, path: g }, [data('x'), end('x')])).rejects.toMatchObject(
        refused,
      );
      await expect(ask('file.remove', { path: g, recursive: false })).rejects.toMatchObject(refused);
      await expect(ask('file.mkdir', { path: Buffer.from('e'), parents: true })).rejects.toMatchObject(
        refused,
      );
      expect([readFileSync(here('g'), 'utf8'), existsSync(here('e'))]).toEqual(['kept', false]);
      expect(await ask('file.stat', { path: g, sha256: false })).toMatchObject({ size: 4 });
    },
  );
});
