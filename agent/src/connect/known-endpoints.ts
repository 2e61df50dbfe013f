import { failpoint, writeDurableSync } from '@codex-remote/platform';
import type { AgentConfig, AgentEndpoint, VerbParams } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { type AgentHome, readAgentConfig } from '../home.ts';

export type Trust = VerbParams<'trust.set'>;

/** The endpoints in `config.json`, which `machine up` and the controller change while the agent runs. */
export class KnownEndpoints {
  readonly #home: AgentHome;
  #last: AgentConfig;

  constructor(home: AgentHome, config: AgentConfig) {
    this.#home = home;
    this.#last = config;
  }

  /** As they are on disk now; as they were last where that cannot be read, or is of another controller. */
  list(): readonly AgentEndpoint[] {
    return this.#read().endpoints;
  }

  /** By what the controller is known from here on, on every endpoint of kind `wss`; how many there are. Throws what the disk said. */
  trust({ certificates, spki_sha256 }: Trust): number {
    const config = this.#read();
    const endpoints = config.endpoints.map((endpoint) =>
      endpoint.kind === 'wss' ? { ...endpoint, certificates, spki_sha256 } : endpoint,
    );
    if (JSON.stringify(endpoints) !== JSON.stringify(config.endpoints)) {
      failpoint('agent.config.before');
      writeDurableSync(this.#home.config, `${JSON.stringify({ ...config, endpoints }, undefined, 2)}\n`);
      failpoint('agent.config.after');
    }
    return endpoints.filter(({ kind }) => kind === 'wss').length;
  }

  #read(): AgentConfig {
    try {
      const read = readAgentConfig(this.#home);
      if (read.controller_key === this.#last.controller_key) this.#last = read;
    } catch (error) {
      if (RemoteError.from(error).code !== 'state_unusable') throw error;
    }
    return this.#last;
  }
}
