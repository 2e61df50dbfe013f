import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { type ServiceHost, thisHost } from '../../src/service/host.ts';

/** Programs that note how they were called, for a PATH that has nothing else but what sh needs. */
export class StubPrograms {
  readonly dir = mkdtempSync(join(tmpdir(), 'stubs-'));
  readonly user = userInfo().username;
  readonly #calls = join(this.dir, 'calls');

  /** `body` is sh; its arguments are in `$*`, its own folder in `$here`. */
  add(name: string, body: string): void {
    const path = join(this.dir, name);
    writeFileSync(path, `#!/bin/sh\nhere='${this.dir}'\necho "${name} $*" >>'${this.#calls}'\n${body}\n`);
    chmodSync(path, 0o755);
  }

  host(more: { platform?: NodeJS.Platform; env?: Record<string, string> } = {}): ServiceHost {
    const env = { PATH: `${this.dir}:/usr/bin:/bin`, HOME: this.dir, XDG_RUNTIME_DIR: this.dir, ...more.env };
    const host = thisHost(env, more.platform ?? 'linux');
    // Where a program is missing here it is missing, whatever this system has.
    const known = (name: string): boolean => readable(join(this.dir, name));
    return {
      ...host,
      run: (argv, input) =>
        known(argv[0])
          ? host.run(argv, input)
          : Promise.resolve({ status: undefined, stdout: '', stderr: '' }),
    };
  }

  /** The calls so far, a line each. */
  calls(): string[] {
    return readable(this.#calls) ? readFileSync(this.#calls, 'utf8').trimEnd().split('\n') : [];
  }

  file(name: string): string {
    return readFileSync(join(this.dir, name), 'utf8');
  }

  close(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function readable(path: string): boolean {
  try {
    readFileSync(path);
    return true;
  } catch {
    return false;
  }
}
