import { type CaptureOptions, captureLogin } from './capture.ts';
import { type LoginEnvironment, plainEnvironment, type User, usualUmask } from './login-environment.ts';

/** Captures once, and again when asked. Never fails: without an answer jobs get a plain environment and a warning. */
export class EnvironmentSource {
  readonly #options: CaptureOptions;
  #current: Promise<LoginEnvironment> | undefined;
  #kind: LoginEnvironment['kind'] = 'plain';

  /** Starts nothing; `refresh` or the first `current` does. */
  constructor(options: CaptureOptions) {
    this.#options = options;
  }

  get user(): User {
    return this.#options.user;
  }

  /** Of the last capture that has ended. */
  get kind(): LoginEnvironment['kind'] {
    return this.#kind;
  }

  /** Waits for the capture under way: at most its 10 s. */
  current(): Promise<LoginEnvironment> {
    this.#current ??= this.#capture();
    return this.#current;
  }

  /** Captures anew; who asks meanwhile waits for the new one. */
  refresh(): Promise<LoginEnvironment> {
    this.#current = this.#capture();
    return this.#current;
  }

  async #capture(): Promise<LoginEnvironment> {
    const plain = plainEnvironment(this.#options.user);
    const captured = await captureLogin(this.#options).catch(() => undefined);
    this.#kind = captured ? 'login' : 'plain';
    if (!captured) return { env: plain, umask: usualUmask, kind: 'plain', warnings: ['environment_plain'] };
    return { env: { ...plain, ...captured.env }, umask: captured.umask, kind: 'login', warnings: [] };
  }
}
