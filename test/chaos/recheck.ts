import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkJob } from './checker.ts';
import { gatherEvidence } from './evidence.ts';
import type { Injected, Operation } from './history.ts';
import type { Plan } from './plan.ts';

/** `node test/chaos/recheck.ts FOLDER`: checks the jobs of a run that was kept once more. */
const folder = process.argv[2];
if (folder === undefined) throw new Error('usage: recheck.ts FOLDER');
const plan = JSON.parse(readFileSync(join(folder, 'plan.json'), 'utf8')) as Plan;
const lines = readFileSync(join(folder, 'history.jsonl'), 'utf8')
  .split('\n')
  .filter(Boolean)
  .map((line) => JSON.parse(line) as Operation | Injected);
const record = {
  operations: lines.filter((line) => 'n' in line),
  injected: lines.filter((line) => 'fault' in line),
  printedPath: (n: number) => join(folder, 'printed', String(n)),
};
for await (const evidence of gatherEvidence(record, plan.stories, join(folder, 'truth')))
  for (const { rule, story, operations, what } of checkJob(evidence))
    process.stdout.write(`${rule}: ${story} ${what} (operations ${operations.join(', ')})\n`);
