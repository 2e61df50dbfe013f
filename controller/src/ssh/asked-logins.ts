import type { AnyAuthMethod, KeyboardInteractiveCallback, Prompt } from 'ssh2';
import type { Ask } from './question.ts';
import type { ResolvedHost } from './resolve.ts';

/** NumberOfPasswordPrompts of OpenSSH, for each of the two methods. */
const attempts = 3;

/** What the server asks of a person: one-time codes and passwords (RFC 4256), then a plain password (RFC 4252 section 8). */
export class AskedLogins {
  readonly #host: ResolvedHost;
  readonly #ask: Ask;
  readonly #left: { 'keyboard-interactive': number; password: number };
  #gaveUp = false;

  constructor(host: ResolvedHost, ask: Ask) {
    this.#host = host;
    this.#ask = async (question) => {
      const answer = this.#gaveUp ? undefined : await ask(question);
      this.#gaveUp ||= answer === undefined;
      return answer;
    };
    this.#left = {
      'keyboard-interactive': host.asks.interactive ? attempts : 0,
      password: host.asks.password ? attempts : 0,
    };
  }

  /** `methods`: those that the server would take; undefined where it has not said so since the last attempt. */
  async next(methods: readonly string[] | undefined): Promise<AnyAuthMethod | false> {
    const { user: username, host } = this.#host;
    if (this.#takes('keyboard-interactive', methods)) {
      return {
        type: 'keyboard-interactive',
        username,
        prompt: (name, instructions, _lang, prompts, finish) =>
          void this.#answer([name, instructions], prompts, finish),
      };
    }
    if (this.#takes('password', methods)) {
      const password = await this.#ask({ text: `${username}@${host}'s password: `, secret: true });
      if (password !== undefined) return { type: 'password', username, password };
    }
    return false;
  }

  #takes(method: 'keyboard-interactive' | 'password', methods: readonly string[] | undefined): boolean {
    if (this.#gaveUp || this.#left[method] === 0 || !(methods?.includes(method) ?? true)) return false;
    this.#left[method]--;
    return true;
  }

  /** As OpenSSH, each question says who asks. */
  async #answer(
    above: readonly string[],
    prompts: readonly Prompt[],
    finish: KeyboardInteractiveCallback,
  ): Promise<void> {
    const { user, host } = this.#host;
    const said = above.filter((text) => text.trim() !== '');
    const answers: string[] = [];
    for (const { prompt, echo } of prompts) {
      const lines = [...said.splice(0), prompt];
      const answer = await this.#ask({
        text: `(${user}@${host}) ${lines.join('\n')}`,
        secret: echo !== true,
      });
      // RFC 4256 section 3.4: as many answers as questions; empty ones are refused like wrong ones.
      answers.push(answer ?? '');
    }
    finish(answers);
  }
}
