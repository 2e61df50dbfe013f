import { Duplex } from 'node:stream';
import type { Channel } from 'ssh2';

/**
 * An ssh2 channel with the manners of a Node stream: `destroy` ends it at once and for good, a connection that breaks is
 * an error and not a clean end, and back-pressure goes through to the channel's window. Bytes are passed, not copied.
 */
export class ChannelDuplex extends Duplex {
  readonly #channel: Channel;
  #closed = false;

  /** `alive`: whether the connection under the channel is; asked when the channel ends. */
  constructor(channel: Channel, alive: () => boolean) {
    super({ allowHalfOpen: true, emitClose: true });
    this.#channel = channel;
    channel.on('data', (bytes: Buffer) => {
      if (!this.push(bytes)) channel.pause();
    });
    channel.on('end', () => {
      if (alive()) this.push(null);
    });
    channel.on('close', () => {
      this.#closed = true;
      if (alive()) this.#finish();
      else this.destroy(Object.assign(new Error('the SSH connection broke'), { code: 'ECONNRESET' }));
    });
    channel.on('error', (error: Error) => this.destroy(error));
  }

  override _read(): void {
    this.#channel.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    // ssh2 forgets the callback of a write to a closed channel. The peer does not want these bytes; its end says so, and
    // what it sent before may still be unread, so this is no error.
    if (this.#closed || !this.#channel.writable) done();
    else this.#channel.write(chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (!this.#closed) this.#channel.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // What still arrives has no reader; without one the channel would never say that it is closed.
    this.#channel.resume();
    if (!this.#closed) this.#channel.close();
    done(error);
  }

  /** The other side closed the channel: nothing more can be written; what was received may still be read. */
  #finish(): void {
    if (this.readableEnded || this.destroyed) this.destroy();
    else this.once('end', () => this.destroy());
  }
}
