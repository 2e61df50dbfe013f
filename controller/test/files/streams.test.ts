import { streamId } from '@codex-remote/protocol/wire';
import { describe, expect, test } from 'vitest';
import { ContentStream, ListStream } from '../../src/files/streams.ts';

const path = Buffer.from('/f');
const { content } = streamId;
const file = (version = 'a-1') => ({
  file: {
    path: '/f',
    type: 'file',
    size: 9,
    mode: 0o600,
    mtime: '2026-01-01T00:00:00.000Z',
    uid: 0,
    gid: 0,
    version,
  },
});

describe('the content of a file', () => {
  test('goes on where it was, with the version that was begun, and the reader is told once what it is', () => {
    const stream = new ContentStream({ path, from: 5, maxBytes: 100 });
    expect(stream.params()).toEqual({ path, from: 5, max_bytes: 100 });
    expect(stream.event(file())).toEqual({ pass: file() });
    stream.data(content, 5, 40);
    expect(stream.params()).toEqual({ path, from: 45, max_bytes: 60, version: 'a-1' });
    expect(stream.event(file())).toEqual({});
    stream.data(content, 45, 60);
    expect(stream.event({ end: { next: 105, complete: false } })).toEqual({
      end: { next: 105, complete: false },
    });
  });

  test.each<[string, (stream: ContentStream) => unknown]>([
    ['bytes before it says what it is', (stream) => stream.data(content, 0, 1)],
    ['a gap', (stream) => begun(stream).data(content, 1, 1)],
    ['a double', (stream) => [begun(stream).data(content, 0, 2), stream.data(content, 1, 2)]],
    ['another stream', (stream) => begun(stream).data(streamId.stdout, 0, 1)],
    ['more than was asked for', (stream) => begun(stream).data(content, 0, 11)],
    ['an end elsewhere', (stream) => begun(stream).event({ end: { next: 3, complete: true } })],
    ['an end before the beginning', (stream) => stream.event({ end: { next: 0, complete: true } })],
    ['twice what it is', (stream) => begun(stream).event(file())],
    ['what is no event of it', (stream) => begun(stream).event({ entries: [] })],
  ])('%s ends the session', (_what, act) => {
    const stream = new ContentStream({ path, from: 0, maxBytes: 10 });
    stream.params();
    expect(() => act(stream)).toThrowError(expect.objectContaining({ code: 'protocol_error' }));
  });
});

function begun(stream: ContentStream): ContentStream {
  stream.event(file());
  return stream;
}

describe('the list of a folder', () => {
  const entry = (name: string) => ({ name, type: 'file', size: 0, mode: 0, mtime: '' });

  test('goes on behind the last entry that was passed on, also where its name is no UTF-8', () => {
    const stream = new ListStream({ path, limit: 10 });
    expect(stream.params()).toEqual({ path, limit: 10 });
    stream.event({ entries: [entry('a'), entry('b')] });
    expect(stream.params()).toEqual({ path, limit: 8, cursor: Buffer.from('b').toString('base64url') });
    stream.event({ entries: [{ ...entry('x'), name: undefined, name_b64: '/w==' }] });
    expect(stream.params()).toEqual({ path, limit: 7, cursor: '_w' });
  });

  test('more than was asked for, or data, ends the session', () => {
    const stream = new ListStream({ path, limit: 1 });
    expect(() => stream.event({ entries: [entry('a'), entry('b')] })).toThrowError(
      expect.objectContaining({ code: 'protocol_error' }),
    );
    expect(() => stream.data()).toThrowError(expect.objectContaining({ code: 'protocol_error' }));
  });
});
