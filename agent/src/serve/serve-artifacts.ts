import { lstat } from 'node:fs/promises';
import {
  type AgentVerb,
  type ArtifactFile,
  type ArtifactListEvent,
  type ArtifactsState,
  agentVerbs,
  isEnded,
} from '@codex-remote/protocol/schema';
import { type Channel, encodeRecord } from '@codex-remote/protocol/wire';
import { artifactsFolder, keptFiles, keptPath } from '../artifacts/kept.ts';
import { refusal } from '../files/file-error.ts';
import { type FileSink, readFile } from '../files/read-file.ts';
import type { ExecStore } from '../store/store.ts';
import { parseOrRefuse } from './parse.ts';

export type ArtifactVerb = Extract<AgentVerb, `artifact.${string}`>;

type Serve = (channel: Channel, params: unknown) => Promise<void>;

/** JSON of one page: it fits a record. */
const pageBytes = 40 * 1024;

/** The verbs about what is kept of execs. */
export function artifactVerbs(store: ExecStore): { readonly [Verb in ArtifactVerb]: Serve } {
  return {
    'artifact.list': async (channel, given) => {
      const { exec_id, from } = parseOrRefuse(agentVerbs['artifact.list'].params, given, 'artifact.list');
      await listArtifacts(store, exec_id, from, channel);
      channel.end();
    },
    'artifact.read': async (channel, given) => {
      const { exec_id, path, from, max_bytes, version } = parseOrRefuse(
        agentVerbs['artifact.read'].params,
        given,
        'artifact.read',
      );
      const kept = await keptCopy(store, exec_id, path);
      await readFile({ path: kept, shownAs: path, from, maxBytes: max_bytes, version }, channel);
      channel.end();
    },
  };
}

/** What was told with the end: an exec that has not ended has none. Throws as `ExecStore.get` does. */
function toldOf(store: ExecStore, id: string): ArtifactsState | undefined {
  const state = store.get(id);
  return isEnded(state) ? state.artifacts : undefined;
}

async function listArtifacts(store: ExecStore, id: string, from: number, sink: FileSink): Promise<void> {
  const { count = 0, bytes = 0 } = toldOf(store, id) ?? {};
  const send = (value: ArtifactListEvent): Promise<void> =>
    sink.write(encodeRecord({ kind: 'event', value }));
  let page: ArtifactFile[] = [];
  let size = 0;
  let at = 0;
  if (count > 0)
    for await (const file of keptFiles(store.folderOf(id).path)) {
      if (at++ < from) continue;
      const more = Buffer.byteLength(JSON.stringify(file)) + 1;
      if (size + more > pageBytes) {
        await send({ files: page });
        [page, size] = [[], 0];
      }
      page.push(file);
      size += more;
    }
  if (page.length > 0) await send({ files: page });
  await send({ end: { count, bytes } });
}

/** Throws `file_not_found`, and as `ExecStore.get` does. */
async function keptCopy(store: ExecStore, id: string, path: Uint8Array): Promise<Buffer> {
  const copy = keptPath(artifactsFolder(store.folderOf(id).path), path);
  const there = toldOf(store, id) && (await lstat(copy).catch(() => undefined));
  if (there) return Buffer.from(copy);
  throw refusal('file_not_found', 'read', path, `nothing of that name is kept of exec ${id}`, {
    exec_id: id,
    hint: `exec artifacts --id ${id} lists what is`,
  });
}
