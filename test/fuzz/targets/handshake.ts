import {
  challenge,
  type Hello,
  hello,
  parseHelloFrame,
  proof,
  refused,
  transcript,
  welcome,
} from '@codex-remote/protocol/schema';
import { bytesOf, check, refusedOr, type Target, textOf } from '../target.ts';

const key = 'A'.repeat(43);
const ours: Hello = {
  type: 'hello',
  versions: { oldest: 1, current: 2 },
  machine: 'box',
  agent_key: key,
  agent_nonce: key,
  host_id: 'h',
  boot_id: 'b',
  instance_id: 'i',
  agent_version: '0.1.0',
  capabilities: ['queues', 'log_limit'],
};
const theirs = {
  type: 'challenge' as const,
  version: 1,
  controller_key: key,
  controller_nonce: key,
  capabilities: [],
};
const texts = [
  ours,
  theirs,
  { type: 'proof', signature: key, join_token: `${'a'.repeat(20)}.${key}` },
  { type: 'welcome', signature: key, session_id: 's' },
  { type: 'refused', code: 'unauthorized', message: 'no' },
].map((frame) => JSON.stringify(frame));
const schemas = [hello, challenge, proof, welcome, refused] as const;

/** What is read is read again from its own JSON, and no two hellos have one transcript. */
export const helloTarget: Target = {
  name: 'hello',
  weight: 10,
  tokens: ['"__proto__":', '"constructor":', '\\u0000', '-', '../', '1e999', '{}', 'null', '[]', '"', ','],
  seeds: () => texts.map(bytesOf),
  run(bytes) {
    const text = textOf(bytes);
    let read = false;
    for (const schema of schemas) {
      const frame = refusedOr(() => parseHelloFrame<unknown>(schema, text));
      if (frame === undefined) continue;
      read = true;
      const again = JSON.stringify(parseHelloFrame<unknown>(schema, JSON.stringify(frame)));
      check(again === JSON.stringify(frame), 'the frame is another after a round');
    }
    const said = refusedOr(() => parseHelloFrame(hello, text));
    if (said && JSON.stringify(said) !== texts[0]) {
      const of = (one: Hello) => Buffer.from(transcript('agent', one, theirs, 'unix', new Uint8Array(0)));
      check(!of(said).equals(of(ours)), 'another hello has the same transcript');
    }
    return read;
  },
};
