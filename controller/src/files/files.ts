import type {
  FileInfo,
  FileRemoved,
  FileWritten,
  FolderMade,
  VerbParams,
} from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { callAgent } from '../execs/agent-call.ts';
import type { RequestBody } from '../execs/request-body.ts';
import type { MachineLink } from '../links/link.ts';
import type { Links } from '../links/links.ts';
import type { Registry } from '../registry/registry.ts';
import { type MachinePlace, MachineRequests } from './machine-requests.ts';
import { type RelayOptions, relayFile } from './record-relay.ts';
import { ContentStream, type ListOrder, ListStream, type ReadOrder } from './streams.ts';

const look = 'it may have been done; file stat tells what is there now';

/** Files of machines. The machine alone knows them: nothing is kept here. All throw as `MachineRequests` does. */
export class Files {
  readonly #requests: MachineRequests;

  constructor(parts: { readonly registry: Registry; readonly links: Links }) {
    this.#requests = new MachineRequests({ ...parts, needs: ['files'] });
  }

  /** Asked again by itself when the connection breaks: looking changes nothing. */
  stat(place: MachinePlace, path: Uint8Array, sha256: boolean): Promise<FileInfo> {
    const { signal } = place;
    return this.#requests.ask(place, (session) =>
      callAgent(session, 'file.stat', { path, sha256 }, { signal }),
    );
  }

  list(place: MachinePlace, order: ListOrder, to: RelayOptions['to']) {
    return this.#requests.at(place, (link) => relayFile(new ListStream(order), relay(place, link, to)));
  }

  read(place: MachinePlace, order: ReadOrder, to: RelayOptions['to']) {
    return this.#requests.at(place, (link) => relayFile(new ContentStream(order), relay(place, link, to)));
  }

  /** Sent again by itself when the body is small enough to be kept: under its `write_id` it is done once. */
  write(place: MachinePlace, params: VerbParams<'file.write'>, body: RequestBody): Promise<FileWritten> {
    const { signal } = place;
    return this.#requests.change(place, {
      send: (session, whole) =>
        callAgent(session, 'file.write', params, { signal, body: body.readThen(whole) }),
      mayRepeat: () => body.replayable,
      look,
    });
  }

  /** Sent again by itself: what is gone by then cannot be removed twice. */
  remove(place: MachinePlace, params: VerbParams<'file.remove'>): Promise<FileRemoved> {
    return this.#requests.change(place, {
      send: async (session, whole, before) => {
        whole();
        try {
          return await callAgent(session, 'file.remove', params, { signal: place.signal });
        } catch (error) {
          const failure = RemoteError.from(error);
          throw before && failure.code === 'file_not_found' ? goneMeanwhile(failure) : failure;
        }
      },
      look,
    });
  }

  /** Sent again by itself where that cannot make it seem that somebody else had made it. */
  mkdir(place: MachinePlace, params: VerbParams<'file.mkdir'>): Promise<FolderMade> {
    return this.#requests.change(place, {
      send: (session, whole) => {
        whole();
        return callAgent(session, 'file.mkdir', params, { signal: place.signal });
      },
      mayRepeat: () => params.parents,
      look,
    });
  }
}

function goneMeanwhile(cause: RemoteError): RemoteError {
  return new RemoteError(
    'file_not_found',
    'it is gone: removed by this request before the connection broke, or by someone else',
    { hint: 'there is nothing left to do' },
    cause,
  );
}

function relay(
  { connectWaitMs, signal }: MachinePlace,
  link: MachineLink,
  to: RelayOptions['to'],
): RelayOptions {
  return { link, firstWaitMs: link.patience(connectWaitMs), signal, to };
}
