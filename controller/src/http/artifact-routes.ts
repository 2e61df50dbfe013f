import { fileVersion } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import { ArtifactList } from '../artifacts/artifact-list.ts';
import type { Found } from '../execs/finder.ts';
import { type FileStream, type RelayOptions, relayFile } from '../files/record-relay.ts';
import { ContentStream } from '../files/streams.ts';
import type { ApiCall, ApiContext } from './context.ts';
import { execParams, pathInQuery, queryCount } from './query.ts';
import type { RecordResponse } from './record-response.ts';

const placeQuery = z.object({ machine: z.string().optional(), connect_wait_ms: queryCount.default(0) });

export function listArtifacts(context: ApiContext, call: ApiCall, response: RecordResponse): Promise<void> {
  return relayed(context, call, response, ({ execId }) => new ArtifactList(execId));
}

export function readArtifact(context: ApiContext, call: ApiCall, response: RecordResponse): Promise<void> {
  const { path_b64, from, max_bytes, version } = z
    .object({
      path_b64: pathInQuery,
      from: queryCount.default(0),
      max_bytes: queryCount.optional(),
      version: fileVersion.optional(),
    })
    .parse(call.query);
  const order = { path: path_b64, from, maxBytes: max_bytes, version };
  return relayed(context, call, response, ({ execId }) => new ContentStream({ ...order, execId }));
}

/** From the machine of the exec, which alone has them. */
async function relayed<End>(
  { execs }: ApiContext,
  call: ApiCall,
  to: RecordResponse & RelayOptions['to'],
  streamOf: (found: Found) => FileStream<End>,
): Promise<void> {
  const { id } = execParams.parse(call.params);
  const { machine, connect_wait_ms } = placeQuery.parse(call.query);
  const { signal } = call;
  const found = await execs.readable(id, machine, signal);
  const { link } = found;
  const options = { link, firstWaitMs: link.patience(connect_wait_ms), signal, to };
  const end = await relayFile(streamOf(found), options).catch((error: unknown) => {
    throw RemoteError.from(error).with({ machine: found.machine.name, exec_id: found.execId });
  });
  await to.event({ end });
}
