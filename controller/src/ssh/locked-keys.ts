import ssh2, { type ParsedKey, type SignCallback, type SigningRequestOptions } from 'ssh2';
import { isParsedKey, type KeyFile, unlockKeyFile } from './key-file.ts';
import type { IdentityCallback } from './ordered-agent.ts';
import type { Ask } from './question.ts';

/** As OpenSSH: so often a passphrase may be mistyped. */
const passphraseTries = 3;

/**
 * Key files that are locked by a passphrase, as an agent: their public halves are offered, and the passphrase of a key is
 * asked for once the server has said that it would take it. Files whose public half is not known cannot be offered.
 */
export class LockedKeys extends ssh2.BaseAgent<ParsedKey> {
  readonly #paths = new Map<ParsedKey, string>();
  readonly #ask: Ask;

  constructor(files: readonly KeyFile[], ask: Ask) {
    super();
    this.#ask = ask;
    for (const { kind, path, publicKey } of files) {
      if (kind !== 'encrypted' || publicKey === undefined) continue;
      const parsed: unknown = ssh2.utils.parseKey(`${publicKey.type} ${publicKey.blob.toString('base64')}`);
      if (isParsedKey(parsed)) this.#paths.set(parsed, path);
    }
  }

  /** There is one that can be offered. */
  get any(): boolean {
    return this.#paths.size > 0;
  }

  override getIdentities(callback: IdentityCallback): void {
    callback(undefined, [...this.#paths.keys()]);
  }

  override sign(
    publicHalf: ParsedKey,
    data: Buffer,
    options: SigningRequestOptions | SignCallback,
    callback?: SignCallback,
  ): void {
    const done = typeof options === 'function' ? options : callback;
    const hash = typeof options === 'function' ? undefined : options.hash;
    this.#unlock(publicHalf).then(
      (key) => {
        const signature: unknown = key.sign(data, hash);
        if (Buffer.isBuffer(signature)) done?.(null, signature);
        else done?.(new Error('the key does not sign'));
      },
      (error: Error) => done?.(error),
    );
  }

  async #unlock(publicHalf: ParsedKey): Promise<ParsedKey> {
    const path = this.#paths.get(publicHalf);
    if (path === undefined) throw new Error('a key that is not ours');
    for (let left = passphraseTries; left > 0; left--) {
      const passphrase = await this.#ask({ text: `Enter passphrase for key '${path}': `, secret: true });
      // As OpenSSH: an empty one is a wish to go on without this key.
      if (passphrase === undefined || passphrase === '') break;
      const key = await unlockKeyFile(path, passphrase);
      if (key !== undefined) return key;
    }
    throw new Error('the key stays locked');
  }
}
