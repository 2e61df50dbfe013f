import type { Random } from './random.ts';

/** What a job does. `code` is what it means to exit with. */
export type Shape = {
  /** How the command is handed over. */
  readonly way: 'argv' | 'cmd' | 'script';
  readonly code: number;
  /** The job is given up by `--timeout` after this. */
  readonly timeoutMs?: number;
  /** It takes its turn: one of them runs at a time on its machine. */
  readonly queued?: true;
} & (
  | { readonly kind: 'quick' | 'sleep' | 'stubborn' | 'polite' | 'background' | 'suicide' | 'missing' }
  /** So many lines on both streams, one each 40 ms. */
  | { readonly kind: 'ticks'; readonly count: number }
  /** So many bytes on stdout, half as many on stderr: any bytes, or lines of text. */
  | { readonly kind: 'binary' | 'text'; readonly count: number }
  /** So many bytes come in through stdin and go out again. */
  | { readonly kind: 'echo'; readonly count: number; readonly inputSeed: number }
);

export type ShapeKind = Shape['kind'];

/** By itself and soon: nobody waits for long behind it. */
const comesToAnEnd: ReadonlySet<ShapeKind> = new Set(['quick', 'ticks', 'text', 'echo', 'missing']);

export function shapeOf(random: Random): Shape {
  const kind = random.weighted<ShapeKind>({
    quick: 16,
    ticks: 18,
    binary: 8,
    text: 10,
    sleep: 8,
    stubborn: 5,
    polite: 6,
    background: 8,
    suicide: 4,
    echo: 8,
    missing: 3,
  });
  const common = {
    way: random.weighted({ argv: 5, cmd: 4, script: 3 }),
    // 0 is what most jobs end with, and what a wrong answer would most likely say.
    code: random.chance(0.4) ? 0 : random.int(1, 123),
    ...(comesToAnEnd.has(kind) && random.chance(0.3) && { queued: true as const }),
    ...(kind !== 'missing' && random.chance(0.08) && { timeoutMs: random.int(300, 6_000) }),
  };
  switch (kind) {
    case 'ticks':
      return { ...common, kind, count: random.int(20, 220) };
    case 'binary':
    case 'text':
      return {
        ...common,
        kind,
        count: random.pick([1, 4_095, 4_097, 65_537, 400_000, 3_000_000, 6_000_000]),
      };
    case 'echo':
      return {
        ...common,
        kind,
        count: random.pick([0, 1, 70_000, 700_000]),
        inputSeed: random.int(0, 2 ** 31),
      };
    case 'missing':
      return { ...common, kind, way: 'argv' };
    default:
      return { ...common, kind };
  }
}

/** Without a cancel it has no end. */
export function isEndless({ kind }: Shape): boolean {
  return kind === 'sleep' || kind === 'stubborn' || kind === 'polite';
}
