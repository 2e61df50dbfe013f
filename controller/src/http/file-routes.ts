import {
  type FileInfo,
  fileVersion,
  listCursor,
  maxListEntries,
  remotePath,
} from '@codex-remote/protocol/schema';
import { z } from 'zod';
import type { FilePlace } from '../files/files.ts';
import type { ApiCall, ApiContext } from './context.ts';
import { machineParams, queryCount } from './query.ts';
import type { RecordResponse } from './record-response.ts';

const defaultListLimit = 1000;

/** Base64url of the bytes of a path. */
const pathInQuery = z
  .string()
  .regex(/^[A-Za-z0-9_-]*$/, 'base64url')
  .transform((text): Uint8Array => Buffer.from(text, 'base64url'))
  .pipe(remotePath);

const placeQuery = z.object({ path_b64: pathInQuery, connect_wait_ms: queryCount.default(0) });

function placeOf(call: ApiCall): FilePlace & { path: Uint8Array } {
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
