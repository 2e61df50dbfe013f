import fc from 'fast-check';

/** Inputs grow no further than this. */
const maxBytes = 16 * 1024;

/** Numbers at which lengths, counts and offsets go wrong. */
const edges = [
  ...[0n, 1n, 2n, 15n, 16n, 31n, 32n, 127n, 128n, 255n, 256n, 4095n, 4096n, 65_535n, 65_536n],
  ...[2n ** 24n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n],
  ...[2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n],
];

/** One change. Places are taken modulo the length, so that every change fits every input. */
export type Mutation =
  | { readonly kind: 'flip'; readonly at: number; readonly bit: number }
  | { readonly kind: 'set'; readonly at: number; readonly byte: number }
  | { readonly kind: 'number'; readonly at: number; readonly width: number; readonly edge: number }
  | { readonly kind: 'digits'; readonly at: number; readonly edge: number }
  | { readonly kind: 'insert'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'token'; readonly at: number; readonly token: number; readonly over: boolean }
  | { readonly kind: 'remove'; readonly at: number; readonly length: number }
  | { readonly kind: 'repeat'; readonly at: number; readonly length: number; readonly times: number }
  | {
      readonly kind: 'splice';
      readonly at: number;
      readonly other: number;
      readonly from: number;
      readonly length: number;
    }
  | { readonly kind: 'cut'; readonly at: number };

const at = fc.nat(65_535);
const length = fc.oneof(fc.nat(8), fc.nat(300));
const edge = fc.nat(edges.length - 1);

export const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at, bit: fc.nat(7) }),
  fc.record({ kind: fc.constant('set' as const), at, byte: fc.nat(255) }),
  fc.record({ kind: fc.constant('number' as const), at, width: fc.constantFrom(1, 2, 4, 8), edge }),
  fc.record({ kind: fc.constant('digits' as const), at, edge }),
  fc.record({ kind: fc.constant('insert' as const), at, bytes: fc.uint8Array({ maxLength: 12 }) }),
  fc.record({ kind: fc.constant('token' as const), at, token: fc.nat(999), over: fc.boolean() }),
  fc.record({ kind: fc.constant('remove' as const), at, length }),
  fc.record({ kind: fc.constant('repeat' as const), at, length, times: fc.nat(40) }),
  fc.record({ kind: fc.constant('splice' as const), at, other: at, from: at, length }),
  fc.record({ kind: fc.constant('cut' as const), at }),
);

/** A seed and what is done to it; without a seed, bytes of chance. */
export interface Recipe {
  readonly seed: number;
  readonly mutations: readonly Mutation[];
}

export const recipe: fc.Arbitrary<Recipe> = fc.record({
  seed: at,
  mutations: fc.array(mutation, { maxLength: 6, size: 'max' }),
});

export function inputOf(
  { seed, mutations }: Recipe,
  seeds: readonly Uint8Array[],
  tokens: readonly string[],
): Uint8Array {
  let bytes: Uint8Array = seeds[seed % seeds.length] ?? new Uint8Array(0);
  for (const change of mutations) bytes = changed(bytes, change, seeds, tokens).subarray(0, maxBytes);
  return bytes.slice();
}

function changed(
  bytes: Uint8Array,
  change: Mutation,
  seeds: readonly Uint8Array[],
  tokens: readonly string[],
): Uint8Array {
  const place = change.at % (bytes.byteLength + 1);
  const before = bytes.subarray(0, place);
  const rest = bytes.subarray(place);
  switch (change.kind) {
    case 'flip':
      return withByte(bytes, place, (byte) => byte ^ (1 << change.bit));
    case 'set':
      return withByte(bytes, place, () => change.byte);
    case 'number': {
      const number = new Uint8Array(8);
      new DataView(number.buffer).setBigUint64(0, edges[change.edge] ?? 0n);
      return Buffer.concat([before, number.subarray(8 - change.width), rest.subarray(change.width)]);
    }
    case 'digits': {
      const digits = Buffer.from(String(edges[change.edge]));
      const old = /^\d*/.exec(Buffer.from(rest.subarray(0, 20)).toString('latin1'))?.[0].length ?? 0;
      return Buffer.concat([before, digits, rest.subarray(old)]);
    }
    case 'insert':
      return Buffer.concat([before, change.bytes, rest]);
    case 'token': {
      const token = Buffer.from(tokens[change.token % Math.max(1, tokens.length)] ?? '');
      return Buffer.concat([before, token, change.over ? rest.subarray(token.byteLength) : rest]);
    }
    case 'remove':
      return Buffer.concat([before, rest.subarray(change.length)]);
    case 'repeat': {
      const part = rest.subarray(0, change.length);
      return Buffer.concat([before, ...Array<Uint8Array>(change.times).fill(part), rest]);
    }
    case 'splice': {
      const other = seeds[change.other % seeds.length] ?? bytes;
      const from = change.from % (other.byteLength + 1);
      return Buffer.concat([before, other.subarray(from, from + change.length), rest]);
    }
    case 'cut':
      return before;
  }
}

function withByte(bytes: Uint8Array, at: number, change: (byte: number) => number): Uint8Array {
  const copy = bytes.slice();
  if (at < copy.byteLength) copy[at] = change(copy[at] ?? 0);
  return copy;
}
