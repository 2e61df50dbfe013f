import type { SshContext } from '@codex-remote/protocol/schema';
import type { Context } from '../../context.ts';

/** What SSH needs to work as it would for the caller; a controller elsewhere makes it in its own way. */
export function sshContext(
  { env, remote }: Context,
  more: Pick<SshContext, 'transport' | 'accept_host_key'> = {},
): SshContext {
  if (remote) return {};
  return {
    ...(env.SSH_AUTH_SOCK ? { auth_sock: env.SSH_AUTH_SOCK } : {}),
    ...(env.CODEX_REMOTE_SSH_CONFIG ? { config_path: env.CODEX_REMOTE_SSH_CONFIG } : {}),
    ...more,
  };
}
