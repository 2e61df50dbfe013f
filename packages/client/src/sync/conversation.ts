import { type Incoming, ItemWriter, readItems } from '@codex-remote/platform/sync';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Connection } from '../connection.ts';
import type { HttpResponse } from '../http.ts';
import { eventField } from '../views.ts';
import { BodyPipe } from './body-pipe.ts';

const headers = { 'content-type': 'application/vnd.codex-remote.records' } as const;

/** One request whose body and answer travel at once. Who has it closes it on every path. */
export class Conversation {
  readonly out: ItemWriter;
  /** Whoever stops reading it does not close it: `finish` reads on. */
  readonly incoming: AsyncIterableIterator<Incoming, void, void>;
  readonly #body = new BodyPipe();
  readonly #answer: Promise<HttpResponse>;
  #receivedBytes = 0;
  #ended = false;
  #failure: RemoteError | undefined;

  constructor(connection: Connection, path: string, signal: AbortSignal | undefined) {
    this.out = new ItemWriter((bytes) => this.#body.write(bytes));
    const body = this.#body.read();
    this.#answer = connection.open({ method: 'POST', path, headers, body, reusesBody: true, signal });
    // Whoever reads gets it.
    this.#answer.catch((error: unknown) => this.#body.fail(RemoteError.from(error)));
    const items = this.#read();
    this.incoming = {
      next: () => items.next(),
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Everything was said by us: waits for the last word of the other side. Throws what it says, `stream_cut`. */
  async finish(): Promise<void> {
    this.#body.end();
    for await (const item of this.incoming)
      throw new RemoteError('protocol_error', `a sync goes on with ${item.kind} behind its result`);
    if (this.#failure) throw this.#failure;
    if (!this.#ended) throw new RemoteError('stream_cut', 'the sync ended without its last record');
  }

  async close(): Promise<void> {
    const closed = new RemoteError('cancelled', 'the sync was given up');
    this.#body.fail(closed);
    await this.#answer.then(
      (response) => response.close(),
      () => undefined,
    );
  }

  async *#read(): AsyncGenerator<Incoming, void, void> {
    try {
      const response = await this.#answer;
      const count = (bytes: number): void => {
        this.#receivedBytes += bytes;
      };
      for await (const item of readItems(response.body, count)) {
        if (item.kind !== 'event') {
          yield item;
          continue;
        }
        const failure = eventField(item.value, 'error');
        if (failure !== undefined) throw RemoteError.fromWire(failure);
        this.#ended = true;
      }
    } catch (error) {
      this.#failure = RemoteError.from(error);
      // Who waits for room in the request waits for nobody.
      this.#body.fail(this.#failure);
      throw error;
    }
  }
}
