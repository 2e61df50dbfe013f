import { RemoteError } from '@codex-remote/protocol/wire';

/** The body of a request, written while its answer is read. `write` resolves when its bytes were taken; one at a time. */
export class BodyPipe {
  #piece: { readonly bytes: Uint8Array; taken(): void } | undefined;
  #wake: (() => void) | undefined;
  #ended = false;
  #failure: RemoteError | undefined;

  write(bytes: Uint8Array): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#piece = { bytes, taken: () => (this.#failure ? reject(this.#failure) : resolve()) };
      this.#wake?.();
    });
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** Nobody reads any more: whoever writes is told why. */
  fail(failure: RemoteError): void {
    this.#failure ??= failure;
    this.#piece?.taken();
    this.#piece = undefined;
    this.#wake?.();
  }

  async *read(): AsyncGenerator<Uint8Array, void, void> {
    try {
      while (!this.#failure) {
        const piece = this.#piece;
        if (piece) {
          // It stays until it is on its way: a reader that stops instead leaves it to `fail`.
          yield piece.bytes;
          this.#piece = undefined;
          piece.taken();
        } else if (this.#ended) return;
        else
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
      }
    } finally {
      this.fail(new RemoteError('stream_cut', 'the request was closed before it was whole'));
    }
  }
}
