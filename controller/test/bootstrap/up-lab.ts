import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import type { Stage } from '@codex-remote/protocol/schema';
import { ownRuntimes, type Reach, StoreEntries, type UpContext } from '../../src/bootstrap/index.ts';
import { Tunnel } from '../../src/ssh/index.ts';
import { openTransport } from '../../src/ssh/open-transport.ts';
import { resolveHost } from '../../src/ssh/resolve.ts';

/** What a controller has for `up`: a bundle, a tunnel, and an ear for the agent that dials in. */
export class UpLab {
  readonly bundle: readonly string[];
  readonly entries = new StoreEntries();
  readonly stages: Stage[] = [];
  readonly heard: string[] = [];
  tunnel: Tunnel | undefined;
  readonly #dir: string;

  private constructor(dir: string) {
    this.#dir = dir;
    this.bundle = [join(dir, 'agent.mjs'), join(dir, 'shim.sh')];
  }

  static async open(): Promise<UpLab> {
    const dir = await mkdtemp(join(tmpdir(), 'cru-'));
    await copyFile(join(import.meta.dirname, 'stand-in-agent.mjs'), join(dir, 'agent.mjs'));
    await writeFile(join(dir, 'shim.sh'), '#!/bin/sh\n: a shim\n');
    return new UpLab(dir);
  }

  context(reach: Reach, more: Partial<UpContext> = {}): UpContext {
    return {
      clock: systemClock,
      signal: new AbortController().signal,
      machine: 'box',
      reach,
      runtimes: ownRuntimes,
      entries: this.entries,
      bundle: this.bundle,
      controllerId: 'controller1',
      controllerKey: 'c'.repeat(43),
      policy: { mode: 'full' },
      endpoints: 'tunnel',
      registerKey: async () => undefined,
      openTunnel: async (installed, fresh) => {
        if (fresh === undefined) return this.tunnel?.opened() ?? Promise.reject(new Error('no tunnel'));
        await this.tunnel?.close();
        this.tunnel = new Tunnel({
          clock: systemClock,
          random: Math.random,
          connect: async (signal) => {
            if (reach.kind === 'local') throw new Error('no tunnel to this host');
            const { environment, target } = reach;
            return openTransport(await resolveHost(target, environment), {
              clock: systemClock,
              environment,
              signal,
            });
          },
          initial: fresh,
          runDir: installed.run_dir,
          installed,
          onConnection: (connection) => {
            connection.on('data', (bytes: Buffer) => this.heard.push(bytes.toString()));
          },
        });
        return this.tunnel.opened();
      },
      awaitDialIn: async () => {
        for (let i = 0; i < 1000 && this.heard.length === 0; i++)
          await new Promise((resolve) => setTimeout(resolve, 5));
        if (this.heard.length === 0) throw new Error('the agent did not dial in');
      },
      canary: async () => ({ ms: 1, warnings: [] }),
      onStage: (stage) => this.stages.push(stage),
      ...more,
    };
  }

  /** Names of the stages that ended so. */
  ended(status: Stage['status']): string[] {
    return this.stages.filter((stage) => stage.status === status).map((stage) => stage.name);
  }

  async close(): Promise<void> {
    await this.tunnel?.close();
    await rm(this.#dir, { recursive: true, force: true });
  }
}
