import { describe, expect, test } from 'vitest';
import { maxReplayBytes, RequestBody } from '../../src/execs/request-body.ts';

/** A sender whose pieces come when told. */
function sender() {
  const waiting: PromiseWithResolvers<IteratorResult<Uint8Array>>[] = [];
  let asked = 0;
  const at = (index: number) => {
    waiting[index] ??= Promise.withResolvers();
    return waiting[index];
  };
  const source = { [Symbol.asyncIterator]: () => ({ next: () => at(asked++).promise }) };
  let said = 0;
  return {
    source,
    say: (text: string) => at(said++).resolve({ done: false, value: Buffer.from(text) }),
    end: () => at(said++).resolve({ done: true, value: undefined }),
    leave: () => at(said++).reject(new Error('aborted')),
  };
}

async function textOf(pieces: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const piece of pieces) parts.push(piece);
  return Buffer.concat(parts).toString();
}

describe('RequestBody', () => {
  test('a second read begins at the beginning, also where the first was given up while it waited', async () => {
    const { source, say, end } = sender();
    const body = new RequestBody(source);
    say('one ');
    const first = body.read();
    expect(Buffer.from((await first.next()).value ?? []).toString()).toBe('one ');
    const abandoned = first.next();
    const second = textOf(body.read());
    say('two ');
    await abandoned;
    say('three');
    end();
    expect(await second).toBe('one two three');
    expect(await textOf(body.read())).toBe('one two three');
  });

  test('a body over the limit is sent once', async () => {
    const { source, say, end } = sender();
    const body = new RequestBody(source);
    say('x'.repeat(maxReplayBytes));
    say('yz');
    end();
    expect((await textOf(body.read())).length).toBe(maxReplayBytes + 2);
    expect(body.replayable).toBe(false);
  });

  test('a sender that goes away before the end is no defect of ours', async () => {
    const { source, say, leave } = sender();
    const body = new RequestBody(source);
    say('one');
    leave();
    await expect(textOf(body.read())).rejects.toMatchObject({ code: 'cancelled' });
  });
});
