import { isUtf8 } from 'node:buffer';

/** Longest character of UTF-8, less its first byte. */
const maxSplitBytes = 3;

/** `bytes` without the beginning of a character at their end, where they are text otherwise; else as they are. */
export function wholeText(bytes: Buffer): Buffer {
  for (let less = 0; less <= maxSplitBytes && less < bytes.byteLength; less++) {
    const begin = bytes.subarray(0, bytes.byteLength - less);
    if (isUtf8(begin)) return less === 0 || isCharacterBegin(bytes.subarray(-less)) ? begin : bytes;
  }
  return bytes;
}

/** The first byte says that more follow than there are. */
function isCharacterBegin(rest: Buffer): boolean {
  const [first = 0] = rest;
  const length = first >= 0xf0 && first <= 0xf4 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  return first <= 0xf4 && rest.byteLength < length;
}
