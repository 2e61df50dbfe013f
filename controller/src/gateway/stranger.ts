import { RemoteError } from '@codex-remote/protocol/wire';

/** What an agent hears that is not let in: the same words for every reason. */
export function stranger(): RemoteError {
  return new RemoteError('unauthorized', 'unauthorized: this agent is not enrolled here');
}
