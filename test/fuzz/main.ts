import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { Failed, runTarget } from './run.ts';
import { targets } from './targets/all.ts';

/**
 * `npm run fuzz -- --target T --runs N --seed S`: mutations of what our own code writes, and of kept inputs, into everything
 * that reads what others wrote. Each input is a value or a typed error, in bounded time and memory. What fails is made
 * small, printed with its seed, and kept in `corpus/`. A million inputs take about a minute.
 */
const { values } = parseArgs({
  options: { target: { type: 'string' }, runs: { type: 'string' }, seed: { type: 'string' } },
});
const say = (text: string): void => void process.stdout.write(`fuzz: ${text}\n`);
const chosen = targets.filter(({ name }) => values.target === undefined || name === values.target);
if (chosen.length === 0) {
  say(`there is no target ${values.target}: ${targets.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}
const runs = Number(values.runs ?? 1_000_000);
const seed = Number(values.seed ?? randomInt(2 ** 31));
const weights = chosen.reduce((sum, { weight }) => sum + weight, 0);
say(`${runs} inputs, seed ${seed}`);
const began = performance.now();
let total = 0;
for (const target of chosen) {
  try {
    const ran = await runTarget(target, Math.ceil((runs * target.weight) / weights), seed);
    total += ran.runs;
    say(`${target.name}: ${ran.runs} inputs, ${ran.values} of them values, ${(ran.ms / 1000).toFixed(1)} s`);
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    say(error.message);
    say(`again: npm run fuzz -- --target ${target.name} --runs ${runs} --seed ${seed}`);
    process.exitCode = 1;
  }
}
say(`${total} inputs in ${((performance.now() - began) / 1000).toFixed(0)} s`);
