import { spawn } from 'node:child_process';

/** Runs of a whole command; quicker things run ten times as often. */
export const benchRounds = Number(process.env.CR_BENCH_ROUNDS ?? 30);

export interface Figure {
  readonly median: number;
  readonly p90: number;
  readonly runs: number;
  readonly unit: string;
}

/** The middle and the ninth tenth of a sample. */
export function summarise(sample: readonly number[], unit: string): Figure {
  const sorted = [...sample].sort((a, b) => a - b);
  const at = (q: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
  return { median: round(at(0.5)), p90: round(at(0.9)), runs: sample.length, unit };
}

/** Milliseconds of a whole process, from spawn to exit; its output is discarded. Throws where it fails: a failing command is quick. */
export function timeProcess(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const child = spawn(program, args, { env, stdio: 'ignore' });
    child.on('error', reject);
    child.on('exit', (code) => {
      const ms = performance.now() - began;
      if (code === 0) resolve(ms);
      else reject(new Error(`${program} ${args.join(' ')}: exit ${code}`));
    });
  });
}

/** Runs the contenders in turn, so that a slow minute of the machine hits all of them alike. */
export async function sideBySide(
  rounds: number,
  contenders: Readonly<Record<string, () => Promise<number>>>,
): Promise<Record<string, Figure>> {
  const samples = new Map<string, number[]>();
  for (const run of Object.values(contenders)) await run();
  for (let round = 0; round < rounds; round++) {
    for (const [name, run] of Object.entries(contenders)) {
      const sample = samples.get(name) ?? [];
      sample.push(await run());
      samples.set(name, sample);
    }
  }
  return Object.fromEntries([...samples].map(([name, sample]) => [name, summarise(sample, 'ms')]));
}

export function round(value: number): number {
  return Math.round(value * 100) / 100;
}
