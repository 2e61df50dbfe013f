import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import type { AgentVerb, ExecState } from '@codex-remote/protocol/schema';
import {
  decodeError,
  decodeFrame,
  decodeMessage,
  defaultWireLimits,
  type Frame,
  RecordParser,
  Session,
} from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FileWriter } from '../../../agent/src/files/write-file.ts';
import { createHandler } from '../../../agent/src/serve/serve-session.ts';
import { StoreLab } from '../../../agent/test/support/store-lab.ts';
import { type PipeEnd, pipe } from '../../../packages/protocol/test/support/pipe.ts';
import { waitFor } from '../lab/wait-for.ts';
import { recordedFrames } from './recorded-session.ts';

/** What a controller of 0.1.0 sent, for today's agent. Of what keeps a connection alive nothing: the frames are few. */
const asked = recordedFrames().filter(
  ({ from, frame }) => from === 'controller' && ['open', 'message', 'data', 'end'].includes(frame.kind),
);

let lab: StoreLab;
let session: Session;
let controller: PipeEnd;
let heard: Frame[];
beforeEach(() => {
  lab = new StoreLab();
  heard = [];
  const ends = pipe();
  controller = ends.controllerEnd;
  controller.attach({
    frame: (bytes) => heard.push(decodeFrame(bytes, defaultWireLimits)),
    activity() {},
    drained() {},
    closed() {},
  });
  const handler = createHandler({
    store: lab.store,
    writer: new FileWriter(join(lab.home, 'writes')),
    version: '9.9.9',
    stop: () => undefined,
    trust: () => 0,
  });
  session = new Session({ transport: ends.agentEnd, side: 'agent', clock: systemClock, accept: handler });
});
afterEach(() => {
  session.end();
  lab.close();
});

/** The agent's side of a channel is over. */
const isOver = (channel: number): boolean =>
  heard.some((frame) => (frame.kind === 'end' || frame.kind === 'reset') && frame.channel === channel);

const replyOn = (channel: number): unknown => {
  const frame = heard.find((one) => one.kind === 'message' && one.channel === channel);
  return frame?.kind === 'message' ? decodeMessage(frame.payload) : undefined;
};

const logOn = (channel: number): string => {
  const parser = new RecordParser();
  let text = '';
  for (const frame of heard)
    if (frame.kind === 'data' && frame.channel === channel)
      for (const record of parser.push(frame.payload))
        if (record.kind === 'data') text += Buffer.from(record.bytes).toString();
  return text;
};

test('today’s agent does for a controller of 0.1.0 what the agent of 0.1.0 did', async () => {
  const verbs = new Map<number, { verb: AgentVerb; id: string }>();
  for (const { bytes, frame } of asked) {
    if (frame.kind === 'open') {
      const { verb, params } = decodeMessage(frame.payload) as {
        verb: AgentVerb;
        params: { exec_id?: string };
      };
      verbs.set(frame.channel, { verb, id: params.exec_id ?? '' });
      // It had seen the output by then.
      if (verb === 'exec.cancel')
        await waitFor('the job to be ready', () => lab.store.get('v1-cancelled').stdout_bytes > 0);
    }
    controller.send(bytes);
    // Requests crossed one after the other, except for the reports, which stay.
    // After OPEN of exec.logs it sent nothing more.
    const asks = frame.kind === 'open' && verbs.get(frame.channel)?.verb === 'exec.logs';
    if (asks || frame.kind === 'end') await waitFor('the answer', () => isOver(frame.channel));
  }

  const answers = [...verbs].map(([channel, { verb, id }]) => {
    const reset = heard.find((frame) => frame.kind === 'reset' && frame.channel === channel);
    if (reset?.kind === 'reset')
      return `${verb} ${id}: ${decodeError(reset.payload, defaultWireLimits).code}`;
    if (verb === 'exec.logs') return `${verb} ${id}: ${JSON.stringify(logOn(channel))}`;
    const reply = replyOn(channel) as { state?: ExecState; agent_version?: string } | undefined;
    return `${verb} ${id}: ${reply?.state?.status ?? reply?.agent_version ?? 'open'}`;
  });
  expect(answers).toEqual([
    'exec.reports : open',
    expect.stringMatching(/^exec.start v1-echo: (running|finished)$/),
    'exec.logs v1-echo: "out\\nerr\\n"',
    expect.stringMatching(/^exec.start v1-stdin: (running|finished)$/),
    'exec.logs v1-stdin: "from stdin\\n"',
    'exec.start v1-cancelled: running',
    'exec.cancel v1-cancelled: finished',
    'exec.logs v1-echo: "out\\n"',
    'exec.get v1-nothing: exec_not_found',
    'exec.start v1-echo: conflict',
    'agent.info : 9.9.9',
    expect.stringMatching(/^exec.start canary-[a-z0-9]+: (running|finished)$/),
    'exec.start v1-missing: finished',
    'exec.logs v1-missing: ""',
    'exec.get v1-missing: finished',
  ]);
  expect(lab.store.get('v1-echo')).toMatchObject({ exit_code: 3, reason: 'exited', label: 'a label' });
  expect(lab.store.get('v1-cancelled')).toMatchObject({ exit_code: 9, reason: 'cancelled' });
  expect(lab.store.get('v1-missing')).toMatchObject({ exit_code: 127, reason: 'failed_to_start' });
  expect(session.ended).toBeUndefined();
  // What was acknowledged is reported no more.
  expect(lab.store.unacknowledgedIds()).not.toContain('v1-echo');
});
