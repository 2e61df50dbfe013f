import { isUtf8 } from 'node:buffer';
import { Readable } from 'node:stream';
import type { SyncParams } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import { audited } from '../audit/audited.ts';
import type { AuditEntry } from '../audit/entry.ts';
import type { MachinePlace } from '../files/machine-requests.ts';
import type { SyncCaller } from '../sync/exchange.ts';
import { type ApiCall, type ApiContext, auditCaller } from './context.ts';
import { drained } from './drained.ts';
import { machineParams, pathInQuery, queryCount, queryFlag } from './query.ts';
import type { RecordResponse } from './record-response.ts';

const orderQuery = z.object({
  path_b64: pathInQuery,
  connect_wait_ms: queryCount.default(0),
  ignore: queryFlag,
  delete: queryFlag,
  checksum: queryFlag,
  dry_run: queryFlag,
  verbose: queryFlag,
});

/** Both sides speak at once: the answer begins while the body still comes. */
export async function pushTree(context: ApiContext, call: ApiCall, response: RecordResponse): Promise<void> {
  const { place, params } = orderOf(call);
  await conversation(call, response, (caller) => {
    const push = () => context.sync.push(place, params, caller);
    if (params.dry_run) return push();
    const { path } = params;
    const told: NonNullable<AuditEntry['facts']> = isUtf8(path)
      ? { path: Buffer.from(path).toString() }
      : { path_b64: Buffer.from(path).toString('base64') };
    const intent = {
      ...auditCaller(call),
      verb: 'sync.push',
      machine: place.machine,
      facts: { ...told, ...(params.delete && { delete: true }) },
    };
    return audited(context.audit, intent, push, (end) => ({ result: 'done', facts: { ...told, ...end } }));
  });
}

export async function pullTree({ sync }: ApiContext, call: ApiCall, response: RecordResponse): Promise<void> {
  const { place, params } = orderOf(call);
  await conversation(call, response, (caller) => sync.pull(place, params, caller));
}

function orderOf(call: ApiCall): { place: MachinePlace; params: SyncParams } {
  const { path_b64, connect_wait_ms, ...params } = orderQuery.parse(call.query);
  const machine = machineParams.parse(call.params).name;
  return {
    place: { machine, connectWaitMs: connect_wait_ms, signal: call.signal },
    params: { ...params, path: path_b64 },
  };
}

/** The last record says how it ended. A caller that is told early stops by itself: what it still sends is dropped. */
async function conversation(
  { body, signal }: ApiCall,
  response: RecordResponse,
  run: (caller: SyncCaller) => Promise<object>,
): Promise<void> {
  if (!(body instanceof Readable)) throw new RemoteError('usage', 'a sync has a body of records');
  const pieces: AsyncIterator<Uint8Array> = body[Symbol.asyncIterator]();
  try {
    const end = await run({ body: pieces, signal, write: (records) => response.write(records) });
    await response.event({ end });
  } catch (error) {
    await response.event({ error: RemoteError.from(error).toWire() });
  }
  await drained(body, signal);
}
