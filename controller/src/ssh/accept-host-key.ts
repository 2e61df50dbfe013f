import { createHmac, randomBytes } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { HostKey } from './host-key.ts';

/**
 * Appends a key to a known_hosts file, 0600 when it is new, on disk when this returns. To be called only after the host
 * has proved that it has the key. Throws `ssh_config_invalid` when the file cannot be written.
 */
export async function appendKnownHost(
  path: string,
  name: string,
  key: HostKey,
  hashed: boolean,
): Promise<void> {
  if (path === '/dev/null') return;
  const line = `${hashed ? hashName(name) : name} ${key.type} ${key.blob.toString('base64')}\n`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const file = await open(path, 'a+', 0o600);
    try {
      const { size } = await file.stat();
      const last = Buffer.alloc(1);
      if (size > 0) await file.read(last, 0, 1, size - 1);
      const joint = size > 0 && last[0] !== 0x0a ? '\n' : '';
      // One write: another program's line cannot land inside ours.
      await file.appendFile(joint + line);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw new RemoteError(
      'ssh_config_invalid',
      `the accepted host key cannot be written to ${path}`,
      { hint: `make ${path} writable` },
      error,
    );
  }
}

function hashName(name: string): string {
  const salt = randomBytes(20);
  return `|1|${salt.toString('base64')}|${createHmac('sha1', salt).update(name).digest('base64')}`;
}
