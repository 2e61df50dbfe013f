import { type Channel, defaultWireLimits, frameHeaderBytes } from '@codex-remote/protocol/wire';

/**
 * Bytes that come in whatever pieces, as frames that are full: each frame costs the machine as much as its bytes do. What
 * fills none goes out with `flush`.
 */
export class FrameFiller {
  readonly #channel: Pick<Channel, 'writeFrame'>;
  #frame: Buffer | undefined;
  #used = frameHeaderBytes;

  constructor(channel: Pick<Channel, 'writeFrame'>) {
    this.#channel = channel;
  }

  /** `bytes` are copied. Resolves when what they filled was handed on. Throws what ended the channel. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength; ) {
      this.#frame ??= Buffer.allocUnsafeSlow(defaultWireLimits.maxFrameBytes);
      const part = bytes.subarray(at, at + this.#frame.byteLength - this.#used);
      this.#frame.set(part, this.#used);
      this.#used += part.byteLength;
      at += part.byteLength;
      if (this.#used === this.#frame.byteLength) await this.flush();
    }
  }

  /** Throws as `write` does. */
  async flush(): Promise<void> {
    const frame = this.#frame?.subarray(0, this.#used);
    if (frame === undefined || this.#used === frameHeaderBytes) return;
    const full = this.#used === defaultWireLimits.maxFrameBytes;
    this.#used = frameHeaderBytes;
    if (full) this.#frame = undefined;
    // What waits for its turn holds what it has, not room for more.
    await this.#channel.writeFrame(full ? frame : Buffer.from(frame));
  }
}
