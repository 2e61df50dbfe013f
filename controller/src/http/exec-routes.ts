import { Readable } from 'node:stream';
import {
  type CancelReply,
  cancelRequest,
  type ExecView,
  execId,
  execStatus,
  isEnded,
  type LogSelection,
  logSelection,
  reportTailBytes,
  type StartReply,
} from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import { audited } from '../audit/audited.ts';
import { RequestBody } from '../execs/request-body.ts';
import { type ApiCall, type ApiContext, auditCaller } from './context.ts';
import { execParams, queryCount, queryJson, queryList } from './query.ts';
import type { RecordResponse } from './record-response.ts';

/** What a list shows beside everything queued and running: ended within this time. */
const recentMs = 24 * 60 * 60 * 1000;
const defaultListLimit = 20;

const startQuery = z.object({
  machine: z.string(),
  exec_id: execId,
  connect_wait_ms: queryCount.default(0),
  needs: z
    .string()
    .transform((text) => text.split(','))
    .optional(),
});
const machineQuery = z.object({ machine: z.string().optional() });

export async function startExec({ starts }: ApiContext, call: ApiCall): Promise<StartReply> {
  const query = startQuery.parse(call.query);
  if (!(call.body instanceof Readable)) throw new RemoteError('usage', 'a start has a body of records');
  return starts.start(
    {
      machine: query.machine,
      execId: query.exec_id,
      body: new RequestBody(call.body),
      connectWaitMs: query.connect_wait_ms,
      needs: query.needs,
    },
    auditCaller(call),
    call.signal,
  );
}

/** Start and watch in one request: what `exec run` sends. The exec is not tied to it. */
export async function runExec(context: ApiContext, call: ApiCall, response: RecordResponse): Promise<void> {
  const started = await startExec(context, call);
  await response.event({ started });
  await watchToEnd(context, started.view, { stdout: 0, stderr: 0 }, response, call.signal);
}

export async function watchExec(
  { execs, ...context }: ApiContext,
  call: ApiCall,
  response: RecordResponse,
): Promise<void> {
  const { id } = execParams.parse(call.params);
  const query = machineQuery
    .extend({ stdout: queryCount.default(0), stderr: queryCount.default(0) })
    .parse(call.query);
  const started = await execs.attach(id, query.machine, call.signal);
  await response.event({ started });
  await watchToEnd(
    { execs, ...context },
    started.view,
    { stdout: query.stdout, stderr: query.stderr },
    response,
    call.signal,
  );
}

async function watchToEnd(
  { execs }: ApiContext,
  view: ExecView,
  from: { stdout: number; stderr: number },
  response: RecordResponse,
  signal: AbortSignal,
): Promise<void> {
  const select: LogSelection = { streams: ['stdout', 'stderr'], from, follow: true };
  const { exec_id } = view.state;
  const end = await execs.logs(exec_id, view.machine, select, (records) => response.write(records), signal);
  if (!isEnded(end.view.state))
    throw new RemoteError('stream_cut', `the log stream of ${exec_id} ended before the exec did`);
  // A machine that goes away just now may not have reported the end yet; its log stream has told it.
  const now = await execs.getEnded(exec_id, view.machine, signal);
  await response.event({ finished: isEnded(now.state) ? now : end.view });
}

export function listExecs(
  { execs, clock }: ApiContext,
  call: ApiCall,
): { execs: ExecView[]; total: number; more: boolean } {
  const query = z
    .object({
      machine: z.string().optional(),
      status: z
        .string()
        .transform((text) => text.split(','))
        .pipe(z.array(execStatus))
        .optional(),
      label: z.string().optional(),
      session: z.string().optional(),
      since_ms: queryCount.optional(),
      until_ms: queryCount.optional(),
      limit: queryCount.pipe(z.number().min(1).max(10_000)).default(defaultListLimit),
    })
    .parse(call.query);
  const { execs: found, total } = execs.list({ ...query, ended_after_ms: clock.wall() - recentMs });
  return { execs: found, total, more: total > found.length };
}

export function getExec({ execs }: ApiContext, call: ApiCall): Promise<ExecView> {
  const { id } = execParams.parse(call.params);
  const query = machineQuery.extend({ tail_bytes: queryCount.default(reportTailBytes) }).parse(call.query);
  return execs.get(id, query.machine, query.tail_bytes, call.signal);
}

export async function readLogs(
  { execs }: ApiContext,
  call: ApiCall,
  response: RecordResponse,
): Promise<void> {
  const { id } = execParams.parse(call.params);
  const query = machineQuery.extend({ select: queryJson.pipe(logSelection) }).parse(call.query);
  const end = await execs.logs(
    id,
    query.machine,
    query.select,
    (records) => response.write(records),
    call.signal,
  );
  await response.event({ end });
}

export function waitExecs(
  { execs }: ApiContext,
  call: ApiCall,
): Promise<{ done: boolean; execs: ExecView[] }> {
  const query = z
    .object({
      machine: z.string().optional(),
      id: queryList.pipe(z.array(z.string()).min(1).max(1000)),
      mode: z.enum(['all', 'any']).default('all'),
      max_wait_ms: queryCount.optional(),
    })
    .parse(call.query);
  return execs.wait(query.id, query.machine, query.mode, query.max_wait_ms, call.signal);
}

/** Also on a full disk: what ends a job is never held up by what cannot be recorded. */
export function cancelExec({ execs, audit }: ApiContext, call: ApiCall): Promise<CancelReply> {
  const { id } = execParams.parse(call.params);
  const query = machineQuery.extend({ connect_wait_ms: queryCount.default(0) }).parse(call.query);
  const request = cancelRequest.parse(call.body);
  return audited(
    audit,
    {
      ...auditCaller(call),
      verb: 'exec.cancel',
      machine: query.machine,
      exec_id: id,
      facts: { signal: request.signal },
    },
    () => execs.cancel(id, query.machine, request, query.connect_wait_ms, call.signal),
    ({ view, already_finished }) => ({
      result: already_finished ? 'unchanged' : 'done',
      machine: view.machine,
      exec_id: view.state.exec_id,
    }),
    { anyway: true },
  );
}
