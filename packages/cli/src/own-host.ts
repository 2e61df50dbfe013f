import { RemoteError } from '@codex-remote/protocol/wire';
import type { Outcome } from './outcome.ts';

/** For a command that works on the host of the controller alone, and is called from another. */
export function notHere(command: string, url: string): RemoteError {
  return new RemoteError(
    'forbidden',
    `forbidden: ${command} is for the host of the controller, not from here`,
    {
      hint: `run it there, as the user whose controller answers at ${url}; or unset CODEX_REMOTE_URL and CODEX_REMOTE_TOKEN_FILE for the one of this host`,
      sent: 'no',
    },
  );
}

/** Next commands that cannot be given from elsewhere, and what tells most instead. */
const instead: readonly (readonly [RegExp, string])[] = [
  [
    /^codex-remote controller (?:start|stop|logs|serve|install|rotate-certificate)\b.*/,
    'codex-remote controller status',
  ],
  // It is the owner of the controller who looks at tokens.
  [/^codex-remote token list$/, 'codex-remote controller status'],
  [/^codex-remote machine up -m (\S+).*/, 'codex-remote machine show -m $1'],
];

/** An answer whose next command can be given where it is read. */
export function nextFromElsewhere<T extends object>(answer: T): T {
  if (!('next_command' in answer) || typeof answer.next_command !== 'string') return answer;
  const line = answer.next_command;
  const [pattern, other] = instead.find(([known]) => known.test(line)) ?? [];
  return pattern && other !== undefined ? { ...answer, next_command: line.replace(pattern, other) } : answer;
}

export function fromElsewhere(outcome: Outcome): Outcome {
  return outcome.value === undefined ? outcome : { ...outcome, value: nextFromElsewhere(outcome.value) };
}
