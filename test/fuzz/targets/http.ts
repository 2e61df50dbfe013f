import { BodyDecoder, bodyKindOf, HeadReader } from '../../../packages/client/src/http-parse.ts';
import { bytesOf, check, refusedOr, sameBytes, type Target } from '../target.ts';

const answers = [
  'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: application/json\r\n\r\n{"a"}',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nt: u\r\n\r\n',
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n',
  'HTTP/1.0 404 Not Found\r\nconnection: close\r\n\r\nuntil the end',
];

/** An answer parsed by hand: the same in one piece and byte by byte, and refused in the same places. */
export const httpTarget: Target = {
  name: 'http',
  weight: 10,
  tokens: [
    '\r\n',
    '\r\n\r\n',
    'content-length: ',
    'transfer-encoding: chunked',
    'ffffffffffff\r\n',
    '-1',
    '0x10',
    '+5',
    '\u0000',
    ':',
    '__proto__: x\r\n',
  ],
  seeds: () => answers.map(bytesOf),
  run(bytes) {
    const whole = refusedOr(() => read([bytes]));
    if (bytes.byteLength < 600) {
      const single = refusedOr(() => read(Array.from(bytes, (byte) => Uint8Array.of(byte))));
      check((whole === undefined) === (single === undefined), 'refused in one piece only, or in many only');
      if (whole && single) {
        check(whole.status === single.status && whole.done === single.done, 'another answer in pieces');
        check(sameBytes(whole.body, single.body), 'another body in pieces');
      }
    }
    return whole !== undefined;
  },
};

function read(pieces: readonly Uint8Array[]): { status: number; done: boolean; body: Uint8Array } {
  const head = new HeadReader();
  let body: BodyDecoder | undefined;
  let status = 0;
  const parts: Uint8Array[] = [];
  for (const piece of pieces) {
    let rest = piece;
    if (body === undefined) {
      const found = head.push(piece);
      if (found === undefined) continue;
      status = found.head.status;
      check(status >= 200 && status <= 599, `status ${status}`);
      const kind = bodyKindOf(found.head);
      check(typeof kind !== 'number' || Number.isSafeInteger(kind), 'a length is not exact');
      body = new BodyDecoder(kind);
      rest = found.rest;
    }
    for (const part of body.push(rest)) parts.push(part.slice());
  }
  return { status, done: body?.whole ?? false, body: Buffer.concat(parts) };
}
