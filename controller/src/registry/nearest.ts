import { nearestNames, RemoteError } from '@codex-remote/protocol/wire';

/** The error for a name that is not registered, with the names that its writer may have meant. */
export function unknownMachine(name: string, known: readonly string[]): RemoteError {
  const shown = name.slice(0, 64);
  const near = nearestNames(name, known);
  const meant = near.length > 0 ? `did you mean ${near.join(' or ')}? ` : '';
  return new RemoteError('unknown_machine', `unknown machine ${JSON.stringify(shown)}`, {
    machine: shown,
    hint: `${meant}\`codex-remote machine list\` shows all, \`codex-remote machine add\` adds one`,
    ...(near.length > 0 ? { facts: { nearest: near } } : {}),
  });
}
