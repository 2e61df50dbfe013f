import type { Invited } from '@codex-remote/protocol/schema';
import { encodeRecord, maxRecordPayloadBytes, streamId } from '@codex-remote/protocol/wire';
import type { ApiCall, ApiContext } from './context.ts';
import { machineParams } from './query.ts';
import type { RecordResponse } from './record-response.ts';

export function inviteMachine({ invitations }: ApiContext, call: ApiCall): Promise<Invited> {
  return invitations.invite(machineParams.parse(call.params).name);
}

/** The file as data of stdout; nobody takes one that was cut for whole, the event is its end. */
export async function inviteByBundle(
  { invitations }: ApiContext,
  call: ApiCall,
  response: RecordResponse,
): Promise<void> {
  const { name } = machineParams.parse(call.params);
  const { expires_at, file } = await invitations.bundle(name);
  let offset = 0;
  for await (const chunk of file) {
    for (let at = 0; at < chunk.byteLength; at += maxRecordPayloadBytes) {
      const bytes = chunk.subarray(at, at + maxRecordPayloadBytes);
      await response.write(encodeRecord({ kind: 'data', stream: streamId.stdout, offset, bytes }));
      offset += bytes.byteLength;
    }
  }
  await response.event({ invited: { machine: name, expires_at } });
}
