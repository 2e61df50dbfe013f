import { type Frame, frameKind } from './frame.ts';
import { frameHeaderBytes } from './limits.ts';

/** Writes the header at the front of `into`; the payload is the rest of it. */
export function writeFrameHeader(into: Uint8Array, kind: number, channel: number): void {
  into[0] = kind;
  into[1] = 0;
  into[2] = 0;
  into[3] = 0;
  into[4] = channel >>> 24;
  into[5] = channel >>> 16;
  into[6] = channel >>> 8;
  into[7] = channel;
}

/** Header and a copy of the payload in one buffer of their own. */
export function encodeWithPayload(kind: number, channel: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(frameHeaderBytes + payload.byteLength);
  writeFrameHeader(frame, kind, channel);
  frame.set(payload, frameHeaderBytes);
  return frame;
}

export function encodeEnd(channel: number): Uint8Array {
  return withRoom(frameKind.end, channel, 0);
}

export function encodeWindow(channel: number, credit: number): Uint8Array {
  const frame = withRoom(frameKind.window, channel, 4);
  new DataView(frame.buffer).setUint32(frameHeaderBytes, credit);
  return frame;
}

export function encodePing(nonce: bigint): Uint8Array {
  return encodeU64(frameKind.ping, nonce);
}

export function encodePong(nonce: bigint): Uint8Array {
  return encodeU64(frameKind.pong, nonce);
}

export function encodeAck(total: number): Uint8Array {
  return encodeU64(frameKind.ack, BigInt(total));
}

/** The inverse of `decodeFrame`, for tests and tools; senders use the single functions. */
export function encodeFrame(frame: Frame): Uint8Array {
  switch (frame.kind) {
    case 'open':
    case 'message':
    case 'data':
    case 'reset':
      return encodeWithPayload(frameKind[frame.kind], frame.channel, frame.payload);
    case 'goaway':
      return encodeWithPayload(frameKind.goaway, 0, frame.payload);
    case 'window':
      return encodeWindow(frame.channel, frame.credit);
    case 'end':
      return encodeEnd(frame.channel);
    case 'ping':
      return encodePing(frame.nonce);
    case 'pong':
      return encodePong(frame.nonce);
    case 'ack':
      return encodeAck(frame.total);
  }
}

function encodeU64(kind: number, value: bigint): Uint8Array {
  const frame = withRoom(kind, 0, 8);
  new DataView(frame.buffer).setBigUint64(frameHeaderBytes, value);
  return frame;
}

function withRoom(kind: number, channel: number, payloadBytes: number): Uint8Array {
  const frame = new Uint8Array(frameHeaderBytes + payloadBytes);
  writeFrameHeader(frame, kind, channel);
  return frame;
}
