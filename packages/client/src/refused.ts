import { lstatSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';

/**
 * What it means that the system refuses access to a socket or folder of ours. Where a folder on the way belongs to us and
 * has lost its permissions, that; else a sandbox, in which no controller may be started: it would live inside it.
 */
export function refused(path: string, errno: string, cause?: unknown): RemoteError {
  const shut = shutFolder(path);
  if (shut !== undefined)
    return new RemoteError(
      'state_unusable',
      `the folder ${shut} has lost its permissions (${errno})`,
      { hint: `give its owner the rights to it: \`chmod u+rwx ${shut}\``, sent: 'no', facts: { errno } },
      cause,
    );
  return new RemoteError(
    'sandbox_denied',
    `the system refused access to ${path} (${errno})`,
    {
      hint: 'run this outside the sandbox (ask for permission to), or use the MCP server, which runs outside it',
      sent: 'no',
      facts: { errno },
    },
    cause,
  );
}

/** The nearest folder that is ours and that its mode shuts to us: what is there in full, what leads to it for passing. */
function shutFolder(path: string): string | undefined {
  let needed = 0o700;
  for (let at = path; ; at = dirname(at)) {
    const stat = statOf(at);
    if (stat?.isDirectory()) {
      if (stat.uid === process.getuid?.() && (stat.mode & needed) !== needed) return at;
      needed = 0o100;
    }
    if (at === dirname(at)) return undefined;
  }
}

function statOf(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch {
    // Missing, or behind a folder that is shut.
    return undefined;
  }
}
