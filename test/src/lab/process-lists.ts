import { readdir, readFile } from 'node:fs/promises';

/** Looks at the arguments and environments of all processes, over and over, for a word that must not be in them. */
export class ProcessLists {
  /** Where it was, `argv` or `environ`, with what stood there. */
  readonly found: string[] = [];
  /** How often every process was looked at, and the different programs that were seen. */
  rounds = 0;
  readonly programs = new Set<string>();
  readonly #word: string;
  readonly #over: Promise<void>;
  #stopped = false;

  static watch(word: string): ProcessLists {
    return new ProcessLists(word);
  }

  private constructor(word: string) {
    this.#word = word;
    this.#over = this.#look();
  }

  /** Resolves when the last round is over. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#over;
  }

  async #look(): Promise<void> {
    while (!this.#stopped) {
      const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
      await Promise.all(pids.map((pid) => this.#lookAt(pid)));
      this.rounds += 1;
    }
  }

  async #lookAt(pid: string): Promise<void> {
    const [argv, environ] = await Promise.all(
      ['cmdline', 'environ'].map((name) => readFile(`/proc/${pid}/${name}`, 'latin1').catch(() => '')),
    );
    this.programs.add((argv ?? '').split('\0', 1)[0] ?? '');
    if (argv?.includes(this.#word)) this.found.push(`argv ${argv}`);
    if (environ?.includes(this.#word)) this.found.push(`environ of ${argv}`);
  }
}
