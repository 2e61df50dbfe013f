import type { ObjectFormat, VerbReply } from '@codex-remote/protocol/schema';
import type { Clock } from '@codex-remote/protocol/wire';
import { type Connection, jsonHeaders } from '../connection.ts';
import { Resume } from '../resume.ts';
import { sendContent } from '../send-file.ts';
import { arrayOf, booleanOf, objectOf, stringOf, wrong } from '../shape.ts';
import type { UploadSource } from '../upload.ts';
import { eventField } from '../views.ts';

/** The mirror of a project on a machine. */
export interface MirrorAddress {
  readonly machine: string;
  readonly project: string;
  /** How long to wait for a known machine that is just reconnecting. */
  readonly connectWaitMs: number;
}

export interface PackOrder {
  readonly commit: string;
  readonly objectFormat: ObjectFormat;
  /** Commits of the pack whose parents are not here either. */
  readonly shallow: readonly string[];
}

type Options = { readonly signal?: AbortSignal | undefined };
type Placed = VerbReply<'git.receive'>;

/** Commits of machines' mirrors, through the controller's API. */
export class GitClient {
  readonly #connection: Connection;
  readonly #clock: Clock;

  constructor(connection: Connection, clock: Clock) {
    this.#connection = connection;
    this.#clock = clock;
  }

  async have(
    address: MirrorAddress,
    want: readonly string[],
    options: Options = {},
  ): Promise<VerbReply<'git.have'>> {
    const value = objectOf(await this.#post(address, 'have', { want }, options), 'git have');
    const ids = (name: string): string[] => arrayOf(value[name], name).map((id) => idOf(id, name));
    return {
      exists: booleanOf(value.exists, 'exists'),
      object_format: value.object_format === 'sha256' ? 'sha256' : 'sha1',
      shallow: ids('shallow'),
      has: ids('has'),
      tips: ids('tips'),
    };
  }

  /** Sent from its beginning again where a connection breaks. */
  receive(
    address: MirrorAddress,
    order: PackOrder,
    pack: UploadSource,
    options: Options = {},
  ): Promise<Placed> {
    const path = pathOf(address, 'receive', {
      commit: order.commit,
      object_format: order.objectFormat,
      ...(order.shallow.length > 0 && { shallow: order.shallow.join(',') }),
    });
    const read = (value: unknown): Placed => readPlaced(eventField(value, 'received'));
    return sendContent(this.#connection, this.#clock, path, pack, read, options);
  }

  /** The machine fetches from the URL of the project. */
  async fetch(address: MirrorAddress, ref: string, options: Options = {}): Promise<Placed> {
    return readPlaced(await this.#post(address, 'fetch', { ref }, options));
  }

  /** Asked again where the controller goes away meanwhile: what is there already is not made twice. */
  async #post(address: MirrorAddress, verb: string, body: object, options: Options): Promise<unknown> {
    const path = pathOf(address, verb, {});
    const sent = Buffer.from(JSON.stringify(body));
    const resume = new Resume(this.#clock, options.signal);
    for (;;) {
      try {
        return await this.#connection.json({
          method: 'POST',
          path,
          headers: jsonHeaders,
          body: sent,
          ...options,
        });
      } catch (error) {
        await resume.after(error);
      }
    }
  }
}

function pathOf(
  { machine, project, connectWaitMs }: MirrorAddress,
  verb: string,
  fields: Readonly<Record<string, string>>,
): string {
  const query = Object.entries({ project, connect_wait_ms: String(connectWaitMs), ...fields });
  return `/v1/machines/${encodeURIComponent(machine)}/git/${verb}?${query.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')}`;
}

function readPlaced(value: unknown): Placed {
  const placed = objectOf(value, 'commit');
  return { commit: idOf(placed.commit, 'commit'), tree: idOf(placed.tree, 'tree') };
}

/** It goes to git and into command lines. */
function idOf(value: unknown, name: string): string {
  const id = stringOf(value, name);
  if (!/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(id)) throw wrong(name, 'an object id');
  return id;
}
