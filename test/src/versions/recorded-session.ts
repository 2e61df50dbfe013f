import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeFrame, defaultWireLimits, type Frame } from '@codex-remote/protocol/wire';

export type Side = 'agent' | 'controller';

/** One message that crossed: a text of the handshake, or a frame. */
export type Recorded =
  | { readonly from: Side; readonly text: string }
  | { readonly from: Side; readonly frame: Uint8Array };

/** The session of protocol version 1 in `test/fixtures/protocol-v1`, in the order in which it was heard. */
export function recordedSession(): Recorded[] {
  const path = join(import.meta.dirname, '../../fixtures/protocol-v1/session.jsonl');
  return readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const { from, text, frame } = JSON.parse(line) as { from: Side; text?: string; frame?: string };
      return text === undefined ? { from, frame: Buffer.from(frame ?? '', 'base64') } : { from, text };
    });
}

export function recordedFrames(): { from: Side; bytes: Uint8Array; frame: Frame }[] {
  return recordedSession().flatMap((message) =>
    'frame' in message
      ? [
          {
            from: message.from,
            bytes: message.frame,
            frame: decodeFrame(message.frame, defaultWireLimits),
          },
        ]
      : [],
  );
}
