import { type Invited, localMachine, machineName } from '@codex-remote/protocol/schema';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import type { Links } from '../links/links.ts';
import { comesByItself } from '../registry/joined.ts';
import type { Registry } from '../registry/registry.ts';
import { bundleFile } from './bundle-file.ts';
import { type Introduction, joinScript } from './join-script.ts';
import type { IssuedToken, JoinTokens } from './join-tokens.ts';
import { type DownloadPlace, onlineSource, pastedLine } from './pasted-line.ts';
import { type Payload, type Payloads, sha256Of } from './payload.ts';

/** Where agents elsewhere dial this controller, and by what they know it. */
export interface DialledAddress {
  /** `https://host:port`, as it is from outside. */
  readonly url: string;
  /** Base64 SHA-256 of the keys that may answer: the present one, and the next while it is replaced. */
  readonly spki_sha256: readonly string[];
  /** PEM, one for each pin. */
  readonly certificates: readonly string[];
}

export interface InvitationsOptions {
  readonly registry: Registry;
  readonly links: Links;
  readonly tokens: JoinTokens;
  readonly payloads: Payloads;
  readonly clock: Clock;
  readonly controllerId: string;
  readonly controllerKey: string;
  /** Undefined while nobody elsewhere can dial us. */
  readonly address: () => DialledAddress | undefined;
}

/** What the pasted line fetches first. */
export const scriptName = 'start';
/** Downloads of an invitation are below it, see downloads.ts. */
export const downloadPath = '/v1/join/';

/** Invites machines that nobody can dial: what is pasted there, or carried there as a file. */
export class Invitations {
  readonly #options: InvitationsOptions;

  constructor(options: InvitationsOptions) {
    this.#options = options;
  }

  /** Throws `no_reachable_endpoint`, `usage`, `conflict` where SSH reaches the machine, `runtime_unsupported`. */
  async invite(machine: string): Promise<{ invited: Invited; tokenId: string }> {
    const { payload, token, address } = await this.#issue(machine);
    const script = scriptFor(
      this.#introduction(machine, token.expiresAt, address),
      payload,
      token.id,
      address,
    );
    const command = pastedLine(token.token, placeOf(token.id, address), {
      name: scriptName,
      sha256: sha256Of(script),
    });
    return { invited: { machine, command, expires_at: iso(token.expiresAt) }, tokenId: token.id };
  }

  /** As one file; see `invite`. */
  async bundle(
    machine: string,
  ): Promise<{ expires_at: string; tokenId: string; file: AsyncIterable<Uint8Array> }> {
    const { payload, token, address } = await this.#issue(machine);
    const introduction = this.#introduction(machine, token.expiresAt, address);
    const file = bundleFile(introduction, payload, token.token);
    return { expires_at: introduction.expires_at, tokenId: token.id, file };
  }

  /** Lets in nobody any more by what was handed out for the machine; how many invitations that were. Throws `unknown_machine`. */
  revoke(machine: string): Promise<number> {
    return this.#options.tokens.revoke(machine);
  }

  /** The script of an invitation that is within its time: the same bytes as when it was made. */
  async script(tokenId: string): Promise<string | undefined> {
    const invited = this.#options.tokens.machineOf(tokenId);
    const address = this.#options.address();
    if (!invited || !address) return undefined;
    const payload = await this.#options.payloads.get();
    return scriptFor(
      this.#introduction(invited.machine, invited.expiresAt, address),
      payload,
      tokenId,
      address,
    );
  }

  async #issue(machine: string): Promise<{ payload: Payload; token: IssuedToken; address: DialledAddress }> {
    const { registry, links, tokens, payloads, clock } = this.#options;
    const address = this.#options.address();
    if (!address) throw notReachable();
    if (machine === localMachine)
      throw new RemoteError(
        'usage',
        `${localMachine} is this host: \`codex-remote machine up ${localMachine}\``,
      );
    machineName.parse(machine);
    const known = registry.get(machine);
    // One that joined is invited again to bring it the agent of this release.
    if (known && !comesByItself(known) && links.of(machine).live)
      throw new RemoteError('conflict', `conflict: ${machine} is connected already, over SSH`, {
        machine,
        hint: `\`codex-remote machine remove ${machine}\` first, where another host is to be it`,
      });
    // Before there is a token: packing takes its time when it is the first.
    const payload = await payloads.get();
    if (!known) await registry.add({ name: machine, added_at: iso(clock.wall()), ssh_memory: {} });
    return { payload, address, token: await tokens.issue(machine) };
  }

  #introduction(machine: string, expiresAt: number, address: DialledAddress): Introduction {
    const { registry, controllerId, controllerKey } = this.#options;
    return {
      machine,
      base: registry.get(machine)?.agent_home ?? '',
      controller_id: controllerId,
      controller_key: controllerKey,
      url: new URL(address.url).href.replace(/^https:/, 'wss:'),
      certificates: address.certificates,
      spki_sha256: address.spki_sha256,
      expires_at: iso(expiresAt),
    };
  }
}

function scriptFor(
  introduction: Introduction,
  payload: Payload,
  tokenId: string,
  address: DialledAddress,
): string {
  return joinScript(introduction, payload, onlineSource(placeOf(tokenId, address)));
}

/** Bound to the token's id, which is no secret, and gone with it. */
function placeOf(tokenId: string, { url, spki_sha256 }: DialledAddress): DownloadPlace {
  return { url: new URL(`${downloadPath}${tokenId}/`, url).href, spki_sha256 };
}

function notReachable(): RemoteError {
  return new RemoteError(
    'no_reachable_endpoint',
    'no address of this controller can be dialled from elsewhere: a machine that joins has nowhere to go',
    {
      hint: '`codex-remote controller start --listen 0.0.0.0:8443 --public-url https://HOST:8443`, with an address of this host that the machine can reach',
      sent: 'no',
    },
  );
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
