const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';

/**
 * A time-ordered, globally unique id of 20 characters that is a valid exec id: 9 characters of milliseconds since the
 * epoch, then 55 random bits (Crockford's base 32, as in ULID).
 */
export function newId(epochMs: number, random: (bytes: number) => Uint8Array = systemRandom): string {
  let time = '';
  for (let rest = epochMs, i = 0; i < 9; i++, rest = Math.floor(rest / 32)) time = alphabet[rest % 32] + time;
  let noise = '';
  for (const byte of random(11)) noise += alphabet[byte % 32];
  return time + noise;
}

/** Loaded when it is first needed: `node:crypto` takes 6 ms of a short command that brings its own random bytes. */
function systemRandom(bytes: number): Uint8Array {
  return process.getBuiltinModule('node:crypto').randomBytes(bytes);
}
