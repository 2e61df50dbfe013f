import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Identity, loadOrCreateIdentity, systemClock } from '@codex-remote/platform';
import type { AgentConfig, VersionRange } from '@codex-remote/protocol/schema';
import type { Clock, RemoteError, Session } from '@codex-remote/protocol/wire';
import { pino } from 'pino';
import type { AgentSelf } from '../../../agent/src/connect/handshake.ts';
import { Gateway, type PrivateArrival } from '../../../controller/src/gateway/gateway.ts';

export interface Certificate {
  readonly key: string;
  readonly cert: string;
  /** Base64 SHA-256 of its public key. */
  readonly pin: string;
}

/** A real gateway on a Unix socket, and what an agent needs to meet it. Everything is gone after `close`. */
export class Meeting {
  readonly dir = mkdtempSync(join(tmpdir(), 'crm-'));
  readonly controller: Identity = this.identity('controller');
  readonly agent: Identity = this.identity('agent');
  readonly sessions: Session[] = [];
  readonly refusals: RemoteError[] = [];
  readonly gateway: Gateway;
  readonly socket = join(this.dir, 'gw.sock');
  readonly #server: Server;
  /** What the registry has. */
  readonly enrolled = new Map([['box', this.agent.publicKey]]);
  arrival: PrivateArrival = { via: 'tunnel', machine: 'box' };

  /** `versions`: what its controller speaks. */
  constructor(clock: Clock = systemClock, versions?: VersionRange) {
    this.gateway = new Gateway({
      identity: this.controller,
      clock,
      log: pino({ level: 'silent' }),
      keyOf: (machine) => this.enrolled.get(machine),
      admit: () => undefined,
      refused: (cause) => this.refusals.push(cause),
      ...(versions === undefined ? {} : { versions }),
      connected: (session) => this.sessions.push(session),
    });
    this.#server = createServer((socket) => this.gateway.accept(socket, this.arrival));
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.socket, resolve));
  }

  identity(name: string): Identity {
    return loadOrCreateIdentity(join(this.dir, `${name}.pem`));
  }

  self(more: Partial<AgentConfig> = {}, identity: Identity = this.agent): AgentSelf {
    return {
      config: {
        version: 1,
        machine: 'box',
        controller_id: 'c0ffee',
        controller_key: this.controller.publicKey,
        host_id: 'h',
        endpoints: [{ kind: 'unix', path: this.socket }],
        ...more,
      },
      identity,
      bootId: 'b',
      instanceId: 'i1',
      version: '0.0.0',
    };
  }

  /** A self-signed certificate by openssl(1). */
  certificate(name: string): Certificate {
    const [key, cert] = [join(this.dir, `${name}.key`), join(this.dir, `${name}.crt`)];
    const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'];
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ed25519',
        '-nodes',
        '-days',
        '2',
        '-keyout',
        key,
        '-out',
        cert,
        ...subject,
      ],
      { stdio: 'ignore' },
    );
    const pem = readFileSync(cert, 'utf8');
    const spki = new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'der' });
    return {
      key: readFileSync(key, 'utf8'),
      cert: pem,
      pin: createHash('sha256').update(spki).digest('base64'),
    };
  }

  async close(): Promise<void> {
    this.gateway.close();
    for (const session of this.sessions) session.end();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.dir, { recursive: true, force: true });
  }
}
