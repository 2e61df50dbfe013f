import type { ServerResponse } from 'node:http';
import { recordsContentType } from '@codex-remote/protocol/schema';
import { encodeRecord, RemoteError } from '@codex-remote/protocol/wire';

/**
 * A response of records. Its last record is always an event (`finished`, `end`, `up` or `error`): a reader that does not
 * see it knows that the stream was cut. Close-delimited, without chunks: each record carries its own length.
 */
export class RecordResponse {
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
    response.removeHeader('transfer-encoding');
    response.writeHead(200, { 'content-type': recordsContentType, connection: 'close' });
  }

  /** Resolves when there is room for more. Throws `cancelled` when the reader has gone. */
  write(records: Uint8Array): Promise<void> {
    const response = this.#response;
    if (response.destroyed) return Promise.reject(gone());
    if (response.write(records)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        response.off('drain', onDrain);
        response.off('close', onClose);
      };
      const onDrain = (): void => {
        settle();
        resolve();
      };
      const onClose = (): void => {
        settle();
        reject(gone());
      };
      response.on('drain', onDrain);
      response.on('close', onClose);
    });
  }

  event(value: unknown): Promise<void> {
    return this.write(encodeRecord({ kind: 'event', value }));
  }

  end(): void {
    this.#response.end();
  }
}

function gone(): RemoteError {
  return new RemoteError('cancelled', 'the reader went away');
}
