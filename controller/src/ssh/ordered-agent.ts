import ssh2, { type ParsedKey, type SignCallback, type SigningRequestOptions } from 'ssh2';
import { isParsedKey } from './key-file.ts';

export type IdentityCallback = (error: Error | null | undefined, keys?: ParsedKey[]) => void;

/** An ssh-agent whose keys come in the order in which OpenSSH tries them, and only those that it would try. */
export class OrderedAgent extends ssh2.BaseAgent<ParsedKey> {
  readonly #agent: ssh2.OpenSSHAgent;
  readonly #order: (keys: readonly ParsedKey[]) => ParsedKey[];

  constructor(socket: string, order: (keys: readonly ParsedKey[]) => ParsedKey[]) {
    super();
    this.#agent = new ssh2.OpenSSHAgent(socket);
    this.#order = order;
  }

  override getIdentities(callback: IdentityCallback): void {
    this.#agent.getIdentities((error, keys) => {
      if (error || keys === undefined) callback(error ?? new Error('the agent gave no keys'));
      else callback(undefined, this.#order(keys.filter(isParsedKey)));
    });
  }

  override sign(
    key: ParsedKey,
    data: Buffer,
    options: SigningRequestOptions | SignCallback,
    callback?: SignCallback,
  ): void {
    if (typeof options === 'function') this.#agent.sign(key, data, options);
    else this.#agent.sign(key, data, options, callback);
  }
}
