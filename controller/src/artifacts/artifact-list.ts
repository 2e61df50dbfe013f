import { type ArtifactListEvent, artifactListEvent } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { FileStream } from '../files/record-relay.ts';
import { parsed } from '../files/streams.ts';

type ListEnd = Extract<ArtifactListEvent, { end: unknown }>['end'];

/** What is kept of an exec; goes on behind the last file that was passed on. */
export class ArtifactList implements FileStream<ListEnd> {
  readonly verb = 'artifact.list';
  readonly needs = 'artifacts';
  readonly #execId: string;
  #from = 0;

  constructor(execId: string) {
    this.#execId = execId;
  }

  params() {
    return { exec_id: this.#execId, from: this.#from };
  }

  data(): void {
    throw new RemoteError('protocol_error', 'artifact.list has no data records');
  }

  event(value: unknown): { pass?: object; end?: ListEnd } {
    const event = parsed(artifactListEvent, value, this.verb);
    if ('end' in event) {
      if (event.end.count !== this.#from)
        throw new RemoteError('protocol_error', 'artifact.list gives more or fewer than it says');
      return { end: event.end };
    }
    this.#from += event.files.length;
    return { pass: event };
  }
}
