import fc from 'fast-check';
import { keepInput, keptInputs } from './corpus.ts';
import { inputOf, recipe } from './mutation.ts';
import { check, type Target } from './target.ts';

/** No input of at most 16 KiB may take longer; a pause of the machine is not the input's: it is tried again. */
const slowMs = 250;
/** What the peak of memory may grow by over a whole target. A bomb of a few bytes is worth as much by itself. */
const maxGrowthBytes = 256 * 1024 * 1024;

export interface Ran {
  readonly runs: number;
  /** Inputs that were values: where nearly none is, nothing behind the first check is reached. */
  readonly values: number;
  readonly ms: number;
}

/** An input that breaks the promise, made as small as it gets and kept. */
export class Failed extends Error {
  override readonly name = 'Failed';
}

/** Tries the kept inputs, then `runs` mutations of them and of the target's seeds. Throws `Failed`. */
export async function runTarget(target: Target, runs: number, seed: number): Promise<Ran> {
  const began = performance.now();
  const seeds = [...target.seeds(), ...keptInputs(target.name), new Uint8Array(0)];
  const tokens = target.tokens ?? [];
  const before = process.resourceUsage().maxRSS * 1024;
  let values = 0;
  for (const bytes of seeds)
    try {
      if (await tried(target, bytes)) values++;
    } catch (error) {
      throw failed(target, seed, bytes, error, 'one of the kept inputs');
    }
  const property = fc.asyncProperty(recipe, async (made) => {
    const value = tried(target, inputOf(made, seeds, tokens));
    if (typeof value === 'boolean' ? value : await value) values++;
  });
  const details = await fc.check(property, { numRuns: runs, seed, endOnFailure: false });
  if (details.failed) {
    const [made] = details.counterexample ?? [];
    const bytes = made === undefined ? new Uint8Array(0) : inputOf(made, seeds, tokens);
    throw failed(target, seed, bytes, details.errorInstance, `kept as ${keepInput(target.name, bytes)}`);
  }
  const grown = process.resourceUsage().maxRSS * 1024 - before;
  if (grown > maxGrowthBytes)
    throw new Failed(`${target.name}, seed ${seed}: memory grew by ${Math.round(grown / 2 ** 20)} MiB`);
  return { runs: runs + seeds.length, values, ms: performance.now() - began };
}

function failed({ name }: Target, seed: number, bytes: Uint8Array, cause: unknown, where: string): Failed {
  const what = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
  const input = JSON.stringify(Buffer.from(bytes).toString('latin1').slice(0, 500));
  return new Failed(`${name}, seed ${seed}: ${what}\ninput: ${input}\n${where}`, { cause });
}

/** Without a turn of the event loop where the target needs none: most do not, and it costs more than they do. */
function tried(target: Target, bytes: Uint8Array): boolean | Promise<boolean> {
  const began = performance.now();
  const value = target.run(bytes);
  if (typeof value !== 'boolean') return value.then((read) => judged(target, bytes, began, read));
  return judged(target, bytes, began, value);
}

function judged(target: Target, bytes: Uint8Array, began: number, value: boolean): boolean {
  const took = performance.now() - began;
  if (took > slowMs) {
    const again = performance.now();
    void target.run(bytes);
    const least = Math.min(took, performance.now() - again);
    check(least <= slowMs, `${bytes.byteLength} bytes took ${Math.round(least)} ms`);
  }
  check(Object.keys(Object.prototype).length === 0 && !('polluted' in {}), 'Object.prototype was changed');
  return value;
}
