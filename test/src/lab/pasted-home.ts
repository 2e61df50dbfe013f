import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { LonelyResult } from './lonely-host.ts';

/**
 * A home on this host in which an invitation is pasted: an agent of its own, with a key of its own, that nothing keeps. `close`
 * ends the agent and removes the home.
 */
export class PastedHome {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async open(path: string): Promise<PastedHome> {
    await mkdir(path, { mode: 0o700 });
    return new PastedHome(path);
  }

  /** To the end of the line; its agent runs on when it was let in. */
  paste(command: string, env: Readonly<Record<string, string>> = {}): Promise<LonelyResult> {
    const child = spawn('/bin/sh', {
      cwd: this.path,
      env: {
        PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
        HOME: this.path,
        CODEX_REMOTE_AGENT_SERVICE: 'bare',
        ...env,
      },
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.stdin.end(`${command}\n`);
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status) =>
        resolve({ status, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
      );
    });
  }

  /** Pid of the agent that serves in it. */
  async agent(): Promise<number | undefined> {
    const base = join(this.path, '.local/share/codex-remote-agent');
    const files = (await readdir(base, { recursive: true }).catch(() => [])).filter((name) =>
      name.endsWith('/agent.json'),
    );
    const [file] = files;
    if (file === undefined) return undefined;
    return (JSON.parse(await readFile(join(base, file), 'utf8')) as { pid: number }).pid;
  }

  async close(): Promise<void> {
    const pid = await this.agent();
    if (pid !== undefined)
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    await rm(this.path, { recursive: true, force: true });
  }
}
