import { Readable } from 'node:stream';
import { gitVerbs, maxShallow, objectId, type VerbReply } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import { audited } from '../audit/audited.ts';
import { RequestBody } from '../execs/request-body.ts';
import type { MachinePlace } from '../files/machine-requests.ts';
import { type ApiCall, type ApiContext, auditCaller } from './context.ts';
import { drained } from './drained.ts';
import { machineParams, queryCount } from './query.ts';
import type { RecordResponse } from './record-response.ts';

const { have, receive, fetch } = {
  have: gitVerbs['git.have'].params,
  receive: gitVerbs['git.receive'].params,
  fetch: gitVerbs['git.fetch'].params,
};

const placeQuery = z.object({ project: have.shape.project, connect_wait_ms: queryCount.default(0) });

/** Throws `unknown_project` where the project is not for the machine. */
function placeOf({ projects }: ApiContext, call: ApiCall): MachinePlace & { project: string } {
  const { project, connect_wait_ms } = placeQuery.parse(call.query);
  const machine = machineParams.parse(call.params).name;
  projects.checkMachine(project, machine);
  return { machine, connectWaitMs: connect_wait_ms, signal: call.signal, project };
}

export async function haveCommits(context: ApiContext, call: ApiCall): Promise<VerbReply<'git.have'>> {
  const { project, ...place } = placeOf(context, call);
  const { want } = z.strictObject({ want: have.shape.want }).parse(call.body);
  return context.git.have(place, { project, want });
}

const objectIds = z
  .string()
  .transform((text) => (text === '' ? [] : text.split(',')))
  .pipe(z.array(objectId).max(maxShallow));

/** The answer is one event, as that of a written file. */
export async function receiveCommits(
  context: ApiContext,
  call: ApiCall,
  response: RecordResponse,
): Promise<void> {
  const { body } = call;
  if (!(body instanceof Readable)) throw new RemoteError('usage', 'commits come as a body of records');
  try {
    const { project, ...place } = placeOf(context, call);
    const { commit, object_format, shallow } = z
      .object({
        commit: receive.shape.commit,
        object_format: receive.shape.object_format,
        shallow: objectIds.default([]),
      })
      .parse(call.query);
    const intent = {
      ...auditCaller(call),
      verb: 'git.receive',
      machine: place.machine,
      facts: { project, commit },
    };
    const received = await audited(context.audit, intent, () =>
      context.git.receive(place, { project, commit, object_format, shallow }, new RequestBody(body)),
    );
    await response.event({ received });
  } catch (error) {
    if (error instanceof z.ZodError) throw error;
    await response.event({ error: RemoteError.from(error).toWire() });
  }
  await drained(body, call.signal);
}

/** From the URL of the project, and no other: who asks names none. */
export async function fetchCommits(context: ApiContext, call: ApiCall): Promise<VerbReply<'git.fetch'>> {
  const { project, ...place } = placeOf(context, call);
  const { ref } = z.strictObject({ ref: fetch.shape.ref }).parse(call.body);
  const { repo } = context.projects.get(project);
  if (repo.kind !== 'url')
    throw new RemoteError('usage', `the project ${project} has no URL: its commits are sent, not fetched`, {
      sent: 'no',
    });
  const facts = { project, url: repo.url, ref };
  return audited(
    context.audit,
    { ...auditCaller(call), verb: 'git.fetch', machine: place.machine, facts },
    () => context.git.fetch(place, { project, url: repo.url, ref }),
    ({ commit }) => ({ result: 'done', facts: { ...facts, commit } }),
  );
}
