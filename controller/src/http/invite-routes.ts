import type { Invited } from '@codex-remote/protocol/schema';
import { encodeRecord, maxRecordPayloadBytes, streamId } from '@codex-remote/protocol/wire';
import { audited, type Outcome } from '../audit/audited.ts';
import { type ApiCall, type ApiContext, auditCaller } from './context.ts';
import { machineParams } from './query.ts';
import type { RecordResponse } from './record-response.ts';

export async function inviteMachine({ invitations, audit }: ApiContext, call: ApiCall): Promise<Invited> {
  const { name } = machineParams.parse(call.params);
  const act = { ...auditCaller(call), verb: 'machine.invite', machine: name };
  return (await audited(audit, act, () => invitations.invite(name), issued)).invited;
}

export async function revokeInvitations(
  { invitations, audit }: ApiContext,
  call: ApiCall,
): Promise<{ revoked: number }> {
  const { name } = machineParams.parse(call.params);
  const act = { ...auditCaller(call), verb: 'machine.invite.revoke', machine: name };
  const told = (revoked: number): Outcome => ({ result: 'done', facts: { revoked } });
  return { revoked: await audited(audit, act, () => invitations.revoke(name), told) };
}

/** The token's id, by which the log tells who came with it. */
function issued({ tokenId }: { readonly tokenId: string }): Outcome {
  return { result: 'done', facts: { token_id: tokenId } };
}

/** The file as data of stdout; nobody takes one that was cut for whole, the event is its end. */
export async function inviteByBundle(
  { invitations, audit }: ApiContext,
  call: ApiCall,
  response: RecordResponse,
): Promise<void> {
  const { name } = machineParams.parse(call.params);
  const act = { ...auditCaller(call), verb: 'machine.invite', machine: name, facts: { bundle: true } };
  const { expires_at, file } = await audited(audit, act, () => invitations.bundle(name), issued);
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
