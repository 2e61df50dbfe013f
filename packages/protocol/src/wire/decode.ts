import { RemoteError } from './errors.ts';
import { type Frame, frameRules } from './frame.ts';
import { frameHeaderBytes, type WireLimits } from './limits.ts';

/**
 * Takes one message apart without copying its payload. Throws `frame_too_big` where it is over the limit of its kind,
 * else `protocol_error`; `facts.field` and `facts.value` say what was wrong. Either ends the session.
 */
export function decodeFrame(bytes: Uint8Array, limits: WireLimits): Frame {
  const size = bytes.byteLength;
  if (size > limits.maxFrameBytes) throw tooBig('frame', size, limits.maxFrameBytes);
  if (size < frameHeaderBytes)
    throw broken('frame_bytes', size, `a frame has at least ${frameHeaderBytes} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, size);
  const kind = view.getUint8(0);
  const rule = frameRules[kind];
  if (!rule) throw broken('kind', kind, 'unknown frame kind');
  const flags = view.getUint8(1);
  if (flags !== 0) throw broken('flags', flags, `${rule.name} has flags that are not defined`);
  const reserved = view.getUint16(2);
  if (reserved !== 0) throw broken('reserved', reserved, `${rule.name} has non-zero reserved bytes`);
  const channel = view.getUint32(4);
  if ((channel === 0) !== (rule.scope === 'session')) {
    throw broken('channel', channel, `${rule.name} is a frame of the ${rule.scope}`);
  }
  const payloadBytes = size - frameHeaderBytes;
  if (payloadBytes < rule.minPayloadBytes) {
    throw broken(
      'payload_bytes',
      payloadBytes,
      `${rule.name} has a payload of at least ${rule.minPayloadBytes} bytes`,
    );
  }
  const most = rule.maxPayloadBytes(limits);
  if (payloadBytes > most) throw tooBig(rule.name, payloadBytes, most);
  switch (rule.name) {
    case 'data':
    case 'message':
    case 'open':
    case 'reset':
      return { kind: rule.name, channel, payload: bytes.subarray(frameHeaderBytes) };
    case 'goaway':
      return { kind: 'goaway', payload: bytes.subarray(frameHeaderBytes) };
    case 'window':
      return { kind: 'window', channel, credit: view.getUint32(frameHeaderBytes) };
    case 'end':
      return { kind: 'end', channel };
    case 'ping':
      return { kind: 'ping', nonce: view.getBigUint64(frameHeaderBytes) };
    case 'pong':
      return { kind: 'pong', nonce: view.getBigUint64(frameHeaderBytes) };
    case 'ack':
      return { kind: 'ack', total: readTotal(view) };
  }
}

function readTotal(view: DataView): number {
  const total = view.getBigUint64(frameHeaderBytes);
  if (total > BigInt(Number.MAX_SAFE_INTEGER))
    throw broken('ack_total', String(total), 'ack total is over 2^53 - 1');
  return Number(total);
}

/** A rule of the protocol that a peer broke; `field` and `value` go into the facts. */
export function broken(field: string, value: number | string | boolean, rule: string): RemoteError {
  return new RemoteError('protocol_error', `${rule} (${field} ${value})`, { facts: { field, value } });
}

function tooBig(field: string, value: number, limit: number): RemoteError {
  return new RemoteError('frame_too_big', `${field} of ${value} bytes is over ${limit}`, {
    facts: { field, value, limit },
  });
}
