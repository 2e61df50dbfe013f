import { isUtf8 } from 'node:buffer';
import { Readable } from 'node:stream';
import {
  type FileInfo,
  type FileRemoved,
  type FolderMade,
  fileMode,
  fileVersion,
  listCursor,
  maxListEntries,
  writeParams,
} from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import { audited } from '../audit/audited.ts';
import type { AuditEntry } from '../audit/entry.ts';
import { RequestBody } from '../execs/request-body.ts';
import type { MachinePlace } from '../files/machine-requests.ts';
import { type ApiCall, type ApiContext, auditCaller } from './context.ts';
import { drained } from './drained.ts';
import { machineParams, pathInQuery, queryCount, queryFlag } from './query.ts';
import type { RecordResponse } from './record-response.ts';

const defaultListLimit = 1000;

const placeQuery = z.object({ path_b64: pathInQuery, connect_wait_ms: queryCount.default(0) });

function placeOf(call: ApiCall): MachinePlace & { path: Uint8Array } {
  const { path_b64, connect_wait_ms } = placeQuery.parse(call.query);
  const machine = machineParams.parse(call.params).name;
  return { machine, connectWaitMs: connect_wait_ms, signal: call.signal, path: path_b64 };
}

export function showFile({ files }: ApiContext, call: ApiCall): Promise<FileInfo> {
  const { sha256 } = z.object({ sha256: z.enum(['0', '1']).default('0') }).parse(call.query);
  const place = placeOf(call);
  return files.stat(place, place.path, sha256 === '1');
}

export async function listFiles(
  { files }: ApiContext,
  call: ApiCall,
  response: RecordResponse,
): Promise<void> {
  const place = placeOf(call);
  const { limit, cursor } = z
    .object({
      limit: queryCount.pipe(z.number().min(1).max(maxListEntries)).default(defaultListLimit),
      cursor: listCursor.optional(),
    })
    .parse(call.query);
  const end = await files.list(place, { path: place.path, limit, cursor }, response);
  await response.event({ end });
}

export async function readFile(
  { files }: ApiContext,
  call: ApiCall,
  response: RecordResponse,
): Promise<void> {
  const place = placeOf(call);
  const { from, max_bytes, version } = z
    .object({
      from: queryCount.default(0),
      max_bytes: queryCount.optional(),
      version: fileVersion.optional(),
    })
    .parse(call.query);
  const order = { path: place.path, from, maxBytes: max_bytes, version };
  const end = await files.read(place, order, response);
  await response.event({ end });
}

/**
 * The answer is one event. A caller that is told early stops sending by itself: until it has, its connection stays and what it
 * sends is dropped, or it might never read the answer.
 */
export async function writeFile(context: ApiContext, call: ApiCall, response: RecordResponse): Promise<void> {
  const { body } = call;
  if (!(body instanceof Readable)) throw new RemoteError('usage', 'a write has a body of records');
  const { path, ...place } = placeOf(call);
  const query = z
    .object({
      write_id: writeParams.shape.write_id,
      size: queryCount.optional(),
      mode: queryCount.pipe(fileMode).optional(),
      expect_sha256: writeParams.shape.expect_sha256,
      create_only: queryFlag,
      parents: queryFlag,
    })
    .parse(call.query);
  try {
    const written = await recorded(
      context,
      call,
      'file.write',
      {
        ...(query.create_only && { create_only: true }),
        ...(query.expect_sha256 !== undefined && { expect_sha256: query.expect_sha256 }),
      },
      () => context.files.write(place, { path, ...query }, new RequestBody(body)),
      ({ size, sha256, created }) => ({ size, sha256, created }),
    );
    await response.event({ written });
  } catch (error) {
    await response.event({ error: RemoteError.from(error).toWire() });
  }
  await drained(body, call.signal);
}

export function removeFile(context: ApiContext, call: ApiCall): Promise<FileRemoved> {
  const { path, ...place } = placeOf(call);
  const { recursive } = z.strictObject({ recursive: z.boolean() }).parse(call.body);
  return recorded(
    context,
    call,
    'file.remove',
    recursive ? { recursive } : {},
    () => context.files.remove(place, { path, recursive }),
    ({ type, removed }) => ({ type, removed }),
  );
}

export function makeFolder(context: ApiContext, call: ApiCall): Promise<FolderMade> {
  const { path, ...place } = placeOf(call);
  const { parents, mode } = z
    .strictObject({ parents: z.boolean(), mode: fileMode.optional() })
    .parse(call.body);
  return recorded(
    context,
    call,
    'file.mkdir',
    {},
    () => context.files.mkdir(place, { path, parents, ...(mode !== undefined && { mode }) }),
    ({ created }) => ({ created }),
  );
}

type Facts = NonNullable<AuditEntry['facts']>;

/** In the audit log before it is sent, with the path as it was given; what of the answer is kept is for `facts` to say. */
function recorded<T>(
  { audit }: ApiContext,
  call: ApiCall,
  verb: string,
  asked: Facts,
  work: () => Promise<T>,
  facts: (value: T) => Facts,
): Promise<T> {
  const { machine, path } = placeOf(call);
  const told: Facts = isUtf8(path)
    ? { path: Buffer.from(path).toString() }
    : { path_b64: Buffer.from(path).toString('base64') };
  const intent = { ...auditCaller(call), verb, machine, facts: { ...told, ...asked } };
  return audited(audit, intent, work, (value) => ({ result: 'done', facts: { ...told, ...facts(value) } }));
}
