import { objectId } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import { DiffStream } from '../diffs/diff-stream.ts';
import { resumeWaitMs } from '../execs/finder.ts';
import { relayFile } from '../files/record-relay.ts';
import type { ApiCall, ApiContext } from './context.ts';
import { execParams, queryCount } from './query.ts';
import type { RecordResponse } from './record-response.ts';

const diffQuery = z.object({
  machine: z.string().optional(),
  part: z.enum(['files', 'patch']),
  from: queryCount.default(0),
  result: objectId.optional(),
});

/** What an exec changed in its worktree. The machine alone knows it: nothing is kept here. */
export async function showDiff(
  { execs }: ApiContext,
  call: ApiCall,
  response: RecordResponse,
): Promise<void> {
  const { id } = execParams.parse(call.params);
  const { machine: named, ...order } = diffQuery.parse(call.query);
  const { machine, link, execId } = await execs.readable(id, named, call.signal);
  const stream = new DiffStream({ exec_id: execId, ...order });
  const firstWaitMs = link.patience(resumeWaitMs);
  try {
    const end = await relayFile(stream, { link, firstWaitMs, signal: call.signal, to: response });
    await response.event({ end });
  } catch (error) {
    throw RemoteError.from(error).with({ machine: machine.name, exec_id: execId });
  }
}
