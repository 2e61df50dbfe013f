import { RemoteError, type SyncPiece, syncLimits } from '@codex-remote/protocol/wire';
import type { Incoming } from './item-reader.ts';
import type { ItemWriter } from './item-writer.ts';

/** Rules go before everything else that their sender says. */
export async function putRules(out: ItemWriter, rules: object): Promise<void> {
  const bytes = Buffer.from(JSON.stringify(rules));
  if (bytes.byteLength > syncLimits.maxRulesBytes) throw tooLong();
  const size = syncLimits.maxDataBytes;
  for (let at = 0; at < bytes.byteLength; at += size)
    await out.put({
      kind: at + size < bytes.byteLength ? 'rules' : 'rules_end',
      bytes: bytes.subarray(at, at + size),
    });
}

/** The next items as rules, not yet parsed further. What follows is still in `incoming`. Throws `protocol_error`. */
export async function takeRules(incoming: AsyncIterator<Incoming>): Promise<unknown> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for (;;) {
    const { value, done } = await incoming.next();
    if (done) throw new RemoteError('stream_cut', 'a sync ended before its rules were there');
    const item = rulesOf(value);
    bytes += item.bytes.byteLength;
    if (bytes > syncLimits.maxRulesBytes) throw tooLong();
    pieces.push(item.bytes);
    if (item.kind === 'rules_end') return parse(Buffer.concat(pieces));
  }
}

function rulesOf(item: Incoming): SyncPiece {
  if (item.kind === 'rules' || item.kind === 'rules_end') return item;
  throw new RemoteError('protocol_error', `a sync begins with ${item.kind} in place of rules`);
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch (error) {
    throw new RemoteError('protocol_error', 'the rules of a sync are not JSON', {}, error);
  }
}

function tooLong(): RemoteError {
  return new RemoteError('too_large', `the rules of a sync are over ${syncLimits.maxRulesBytes} bytes`, {
    hint: 'give fewer --exclude and --include, or sync a folder of it',
    sent: 'no',
  });
}
