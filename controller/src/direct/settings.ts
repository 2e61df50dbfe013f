import { readFileSync } from 'node:fs';
import { failpoint, writeDurable } from '@codex-remote/platform';
import type { DirectChange } from '@codex-remote/protocol/schema';
import { formatListen, parseListen, parsePublicUrl, RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';

/** Whether and where this controller listens for the network. Nothing is there unless somebody said so. */
export interface DirectSettings {
  /** `HOST:PORT`; absent: it does not listen. */
  readonly listen?: string;
  /** `https://HOST[:PORT]`, by which others reach that port. */
  readonly public_url?: string;
}

const stored = z.object({
  version: z.literal(1),
  listen: z.string().optional(),
  public_url: z.string().optional(),
});

/** `direct.json` in the config folder. */
export class DirectSettingsFile {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Throws `state_unusable`. */
  read(): DirectSettings {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
      throw this.#unusable(error);
    }
    try {
      const { listen, public_url } = stored.parse(JSON.parse(text));
      if (listen !== undefined) parseListen(listen);
      return {
        ...(listen === undefined ? {} : { listen }),
        ...(public_url === undefined ? {} : { public_url: parsePublicUrl(public_url) }),
      };
    } catch (error) {
      throw this.#unusable(error);
    }
  }

  async write(settings: DirectSettings): Promise<void> {
    failpoint('controller.direct_settings.before');
    await writeDurable(this.#path, `${JSON.stringify({ version: 1, ...settings }, undefined, 2)}\n`);
    failpoint('controller.direct_settings.after');
  }

  #unusable(cause: unknown): RemoteError {
    return new RemoteError(
      'state_unusable',
      `the settings ${this.#path} cannot be read`,
      { hint: 'repair the file, or remove it and say `controller start --listen …` again' },
      cause,
    );
  }
}

/** Throws `usage`. */
export function changedSettings(before: DirectSettings, change: DirectChange): DirectSettings {
  const listen = change.listen === undefined ? before.listen : (change.listen ?? undefined);
  const url = change.public_url === undefined ? before.public_url : (change.public_url ?? undefined);
  if (listen === undefined) {
    if (typeof change.public_url !== 'string') return {};
    throw new RemoteError('usage', 'a public URL is of use where the controller listens', {
      hint: '--listen HOST:PORT says where, such as 0.0.0.0:7443',
      sent: 'no',
    });
  }
  return {
    listen: formatListen(parseListen(listen)),
    ...(url !== undefined && { public_url: parsePublicUrl(url) }),
  };
}

/** Where it can be asked for by a name of this host itself: every address includes those. */
const loopback = /^(?:localhost|127\.\d+\.\d+\.\d+|::1|0\.0\.0\.0|::)$/;

/** Host names, without a port, under which a request may ask for us. */
export function hostNames({ listen, public_url }: DirectSettings): readonly string[] {
  const names = public_url === undefined ? [] : [new URL(public_url).hostname];
  if (listen === undefined) return names;
  const host = parseListen(listen).host.toLowerCase();
  if (loopback.test(host)) return [...names, 'localhost', '127.0.0.1', '[::1]'];
  return [...names, host.includes(':') ? `[${host}]` : host];
}
