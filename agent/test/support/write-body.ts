import { createHash } from 'node:crypto';
import type { WriteBody } from '../../src/files/write-file.ts';

/** A content in pieces; `between` is called before each of them. */
export function bodyOf(
  content: Buffer,
  between: (at: number) => void | Promise<void> = () => undefined,
): WriteBody {
  return {
    async *pieces() {
      for (let at = 0; at < content.byteLength; at += 65_000) {
        await between(at);
        yield content.subarray(at, at + 65_000);
      }
    },
    whole: () => ({
      bytes: content.byteLength,
      sha256: createHash('sha256').update(content).digest('hex'),
    }),
  };
}
