import { RemoteError } from '@codex-remote/protocol/wire';

/** What a caller hears whose token is missing, unknown, expired or revoked: the same words; the log says which. */
export function unauthorized(): RemoteError {
  return new RemoteError('unauthorized', 'unauthorized: the token is missing or not accepted', {
    sent: 'no',
    hint: 'who runs the controller sees with `codex-remote token list` which tokens hold, and makes one with `token create`',
  });
}
