/** CRC of POSIX cksum(1): polynomial 04C11DB7, most significant bit first, the length appended. */
const table = Uint32Array.from({ length: 256 }, (_, i) => {
  let crc = i << 24;
  for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc & 0x80000000 ? 0x04c11db7 : 0);
  return crc;
});

export class Cksum {
  #crc = 0;
  #length = 0;

  update(bytes: Uint8Array): void {
    let crc = this.#crc;
    for (let i = 0; i < bytes.length; i++) crc = (crc << 8) ^ (table[(crc >>> 24) ^ (bytes[i] ?? 0)] ?? 0);
    this.#crc = crc;
    this.#length += bytes.length;
  }

  digest(): number {
    let crc = this.#crc;
    for (let rest = this.#length; rest > 0; rest = Math.floor(rest / 256))
      crc = (crc << 8) ^ (table[(crc >>> 24) ^ (rest % 256)] ?? 0);
    return ~crc >>> 0;
  }
}
