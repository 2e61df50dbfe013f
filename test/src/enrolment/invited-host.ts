import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makePrivateDir } from '@codex-remote/platform';
import type { Invited } from '@codex-remote/protocol/schema';
import type { Clock } from '@codex-remote/protocol/wire';
import { pino } from 'pino';
import { StoreEntries } from '../../../controller/src/bootstrap/index.ts';
import { Downloads, downloadOf } from '../../../controller/src/enrolment/downloads.ts';
import { Invitations } from '../../../controller/src/enrolment/invitations.ts';
import { JoinTokens } from '../../../controller/src/enrolment/join-tokens.ts';
import { Payloads } from '../../../controller/src/enrolment/payload.ts';
import { Links } from '../../../controller/src/links/links.ts';
import { LowdbRegistry } from '../../../controller/src/registry/lowdb-registry.ts';
import { Meeting } from '../connect/meeting.ts';
import type { Certificate } from '../lab/certificate.ts';

/** Of one invitation: enough for what the tests fetch. */
export const maxBytesEach = 1024 * 1024 * 1024;

/** What our agent is, to the script that brings it: it notes what it is told. */
const standInAgent = `
import { writeFileSync, readFileSync } from 'node:fs';
writeFileSync(process.env.HOME + '/told', readFileSync(0));
process.stdout.write(JSON.stringify({ argv: process.argv.slice(2) }) + '\\n');
`;

export interface Pasted {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A controller as far as an invitation sees it, its downloads on a TLS port, and hosts on which the line is pasted. The
 * runtime is a script of a few bytes that runs the Node of the tests; the agent notes what it gets.
 */
export class InvitingLab {
  readonly dir = mkdtempSync(join(tmpdir(), 'cri-'));
  readonly tokens: JoinTokens;
  readonly invitations: Invitations;
  readonly registry: LowdbRegistry;
  readonly certificate: Certificate;
  /** Paths that were asked for. */
  readonly asked: string[] = [];
  /** What is sent in place of a file, by its name. */
  readonly replaced = new Map<string, Buffer>();
  readonly downloads: Downloads;
  readonly url: string;
  readonly #server: Server;
  readonly #meeting: Meeting;
  readonly #children = new Set<ChildProcess>();

  static async open(clock: Clock): Promise<InvitingLab> {
    const meeting = new Meeting(clock);
    const certificate = meeting.certificate('controller');
    const server = createServer({ ...certificate, minVersion: 'TLSv1.3' });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const registry = await LowdbRegistry.open(join(meeting.dir, 'registry.json'));
    return new InvitingLab(clock, meeting, certificate, server, registry);
  }

  private constructor(
    clock: Clock,
    meeting: Meeting,
    certificate: Certificate,
    server: Server,
    registry: LowdbRegistry,
  ) {
    this.#meeting = meeting;
    this.#server = server;
    this.certificate = certificate;
    this.registry = registry;
    this.url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const program = join(this.dir, 'node');
    writeFileSync(program, `#!/bin/sh\nexec ${process.execPath} "$@"\n`, { mode: 0o700 });
    const bundle = ['agent.mjs', 'shim.sh', 'keeper.sh'].map((name) => join(this.dir, name));
    for (const path of bundle) writeFileSync(path, path.endsWith('agent.mjs') ? standInAgent : `# ${path}\n`);
    const cache = join(this.dir, 'cache');
    makePrivateDir(cache);
    const payloads = new Payloads({
      runtimes: { find: (platform) => (platform === 'linux-x64' ? program : undefined) },
      entries: new StoreEntries(),
      bundle,
      cache,
    });
    this.tokens = new JoinTokens({ registry, clock, log: pino({ level: 'silent' }) });
    this.invitations = new Invitations({
      registry,
      links: new Links(clock),
      tokens: this.tokens,
      payloads,
      clock,
      controllerId: 'c0ffee00c0ffee00',
      controllerKey: meeting.controller.publicKey,
      address: () => ({
        url: this.url,
        spki_sha256: [certificate.pin],
        certificates: [certificate.cert],
      }),
    });
    this.downloads = new Downloads(this.invitations, this.tokens, payloads, maxBytesEach);
    server.on('request', (request, response) => {
      this.asked.push(request.url ?? '');
      const { tokenId = '', name = '' } = downloadOf(request.url ?? '') ?? {};
      const other = this.replaced.get(name);
      if (other) response.end(other);
      else void this.downloads.serve(tokenId, name, response);
    });
  }

  /** A folder of programs, and nothing else in PATH but what scripts add to it. */
  tools(names: Readonly<Record<string, string>>): string {
    const dir = mkdtempSync(join(this.dir, 'bin-'));
    for (const [name, path] of Object.entries(names)) symlinkSync(path, join(dir, name));
    return dir;
  }

  home(): string {
    return mkdtempSync(join(this.dir, 'home-'));
  }

  /** Pastes the line into a shell: it reads it from its stdin, as from a terminal. */
  paste(shell: readonly [string, ...string[]], line: string, env: Record<string, string>): Promise<Pasted> {
    const [program, ...args] = shell;
    const child = spawn(program, args, { env, cwd: this.dir });
    this.#children.add(child);
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.stdin.end(`${line}\n`);
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status) => {
        this.#children.delete(child);
        resolve({ status, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() });
      });
    });
  }

  /** Makes a file of the bundle so large that no socket takes it at once. */
  grow(name: string, bytes: number): void {
    truncateSync(join(this.dir, name), bytes);
  }

  async invite(machine: string): Promise<Invited> {
    return (await this.invitations.invite(machine)).invited;
  }

  /** A file with the bytes of the bundle. */
  async bundle(machine: string): Promise<string> {
    const path = join(this.dir, `${machine}.sh`);
    const pieces: Uint8Array[] = [];
    for await (const piece of (await this.invitations.bundle(machine)).file) pieces.push(piece);
    writeFileSync(path, Buffer.concat(pieces), { mode: 0o600 });
    chmodSync(path, 0o600);
    return path;
  }

  async close(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await this.#meeting.close();
    mkdirSync(this.dir, { recursive: true });
    rmSync(this.dir, { recursive: true, force: true });
  }
}
