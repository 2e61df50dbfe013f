import { verifySignature } from '@codex-remote/platform';
import {
  type AgentVerb,
  agentVerbs,
  challenge,
  execState,
  hello,
  parseHelloFrame,
  proof,
  reportsFromAgent,
  reportsFromController,
  transcript,
  welcome,
} from '@codex-remote/protocol/schema';
import {
  decodeError,
  decodeMessage,
  defaultWireLimits,
  isErrorCode,
  RecordParser,
} from '@codex-remote/protocol/wire';
import { describe, expect, test } from 'vitest';
import { recordedFrames, recordedSession } from './recorded-session.ts';

describe('a session of protocol version 1, as 0.1.0 spoke it', () => {
  const texts = recordedSession().flatMap((message) => ('text' in message ? [message.text] : []));
  const frames = recordedFrames();
  const opened = new Map<number, AgentVerb>();
  for (const { frame } of frames) {
    if (frame.kind !== 'open') continue;
    const { verb } = decodeMessage(frame.payload) as { verb: AgentVerb };
    opened.set(frame.channel, verb);
  }

  test('begins with a handshake that today’s schemas read and whose signatures hold over today’s transcript', () => {
    const [first = '', second = '', third = '', fourth = ''] = texts;
    const agent = parseHelloFrame(hello, first);
    const controller = parseHelloFrame(challenge, second);
    const signed = (role: 'agent' | 'controller') =>
      transcript(role, agent, controller, 'unix', new Uint8Array(0));
    expect(agent.versions).toEqual({ oldest: 1, current: 1 });
    expect(verifySignature(agent.agent_key, signed('agent'), parseHelloFrame(proof, third).signature)).toBe(
      true,
    );
    expect(
      verifySignature(
        controller.controller_key,
        signed('controller'),
        parseHelloFrame(welcome, fourth).signature,
      ),
    ).toBe(true);
    expect(texts).toHaveLength(4);
  });

  test('has every verb that there was, with params that today’s agent takes', () => {
    expect(new Set(opened.values())).toEqual(
      new Set(['exec.reports', 'exec.start', 'exec.logs', 'exec.cancel', 'exec.get', 'agent.info']),
    );
    for (const { frame } of frames) {
      if (frame.kind !== 'open') continue;
      const { verb, params } = decodeMessage(frame.payload) as { verb: AgentVerb; params: unknown };
      expect(agentVerbs[verb].params.safeParse(params)).toMatchObject({ success: true });
    }
  });

  test('has messages and errors that today’s schemas take from either side', () => {
    const kinds = new Set<string>();
    for (const { from, frame } of frames) {
      kinds.add(frame.kind);
      if (frame.kind === 'reset')
        expect(isErrorCode(decodeError(frame.payload, defaultWireLimits).code)).toBe(true);
      if (frame.kind !== 'message') continue;
      const verb = opened.get(frame.channel) ?? 'exec.reports';
      const schema =
        verb !== 'exec.reports'
          ? agentVerbs[verb].reply
          : from === 'agent'
            ? reportsFromAgent
            : reportsFromController;
      expect(schema.safeParse(decodeMessage(frame.payload))).toMatchObject({ success: true });
    }
    expect([...kinds].sort()).toEqual(['ack', 'data', 'end', 'message', 'open', 'ping', 'pong', 'reset']);
  });

  test('has logs whose records add up to what was written, with a state at their end', () => {
    const logs = [...opened].filter(([, verb]) => verb === 'exec.logs').map(([channel]) => channel);
    const written = logs.map((channel) => {
      const parser = new RecordParser();
      const bytes: Buffer[] = [];
      let ended: unknown;
      for (const { from, frame } of frames) {
        if (from !== 'agent' || frame.kind !== 'data' || frame.channel !== channel) continue;
        for (const record of parser.push(frame.payload)) {
          if (record.kind === 'data') bytes.push(Buffer.from(record.bytes));
          if (record.kind === 'event') ended = (record.value as { ended: unknown }).ended;
        }
      }
      expect(parser.atBoundary).toBe(true);
      expect(execState.safeParse(ended)).toMatchObject({ success: true });
      return Buffer.concat(bytes).toString();
    });
    expect(written).toEqual(['out\nerr\n', 'from stdin\n', 'out\n', '']);
  });
});
