import { randomInt } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { checkAftermath, MemoryWatch } from './aftermath.ts';
import { checkTurns, type Turn, turnOf } from './check-turns.ts';
import { checkJob } from './checker.ts';
import { Clients } from './clients.ts';
import { Closing } from './closing.ts';
import { gatherEvidence, type Violation } from './evidence.ts';
import { Faults } from './faults.ts';
import { History } from './history.ts';
import { keepState } from './keep.ts';
import { machineNames, makePlan, type Plan } from './plan.ts';
import { machineRequest, requestOf, writeInputs } from './requests.ts';
import { World } from './world.ts';

/**
 * `npm run chaos -- --minutes N --seed S`: random jobs on three real machines while their parts are killed, stopped and cut
 * off; then everything that was answered is compared with what the jobs wrote down themselves. Needs root. `--keep` leaves
 * the histories of a run in which nothing was wrong, too.
 */
const { minutes, seed, keep } = wanted();
const replay = `npm run chaos -- --minutes ${minutes} --seed ${seed}`;
const say = (text: string): void => void process.stdout.write(`chaos: ${text}\n`);

say(`seed ${seed}, ${minutes} minutes; the same plan again: ${replay}`);
const plan = makePlan(seed, minutes);
const world = await World.open();
let failed = true;
try {
  const violations = await Promise.race([run(plan), interrupted()]);
  failed = violations.length > 0;
  for (const { rule, story, operations, what } of violations)
    say(
      `${rule}: ${story ?? ''} ${what}${operations.length > 0 ? ` (operations ${operations.join(', ')})` : ''}`,
    );
  if (failed) {
    await writeFile(join(world.folder, 'violations.json'), JSON.stringify(violations, undefined, 2));
    say(`${violations.length} violations; the same plan again (timing differs): ${replay}`);
    process.exitCode = 1;
  }
} finally {
  if (failed) {
    // A run that broke off has kept nothing yet.
    await keepState(world);
  }
  if (failed || keep) say(`histories, logs and state are kept in ${world.folder}`);
  await world.close();
  if (!failed && !keep) await rm(world.folder, { recursive: true, force: true });
}

/** Whoever ends us gets the world removed all the same. */
function interrupted(): Promise<never> {
  return new Promise((_resolve, reject) => {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.once(name, () => reject(new Error(`ended by ${name}`)));
  });
}

function wanted(): { minutes: number; seed: number; keep: boolean } {
  const { values } = parseArgs({
    options: { minutes: { type: 'string' }, seed: { type: 'string' }, keep: { type: 'boolean' } },
  });
  const given = {
    minutes: Number(values.minutes ?? process.env.CR_CHAOS_MINUTES ?? 2),
    keep: values.keep === true,
    seed: Number(values.seed ?? process.env.CR_CHAOS_SEED ?? randomInt(2 ** 31)),
  };
  if (!(given.minutes > 0) || !Number.isSafeInteger(given.seed))
    throw new Error('--minutes takes a number above 0, --seed a whole number');
  return given;
}

async function run({ stories, faults: timed, durationMs }: Plan): Promise<Violation[]> {
  await writeFile(join(world.folder, 'plan.json'), JSON.stringify(plan, undefined, 2));
  await writeInputs(stories, world);
  const history = new History(world.folder);
  const clients = new Clients(world, history);
  const faults = new Faults(world, clients, history);
  const memory = new MemoryWatch(world);
  try {
    const ups = await Promise.all(machineNames.map((machine) => clients.run(machineRequest('up', machine))));
    const down = ups.find(({ status }) => status !== 0);
    if (down) throw new Error(`${down.machine} does not come up: ${down.stderr}`);
    say(`${stories.length} jobs and ${timed.length} faults on ${machineNames.join(', ')}`);
    const injected = timed.map(({ atMs, fault }) => pause(atMs).then(() => faults.inject(fault)));
    const steps = stories.flatMap((story) =>
      story.steps.map(async (step) => {
        await pause(story.atMs + step.afterMs);
        const request = requestOf(story, step, world);
        await (request ? clients.run(request, step.caller) : faults.killShim(story, step));
      }),
    );
    await pause(durationMs);
    faults.mend();
    await Promise.all(injected);
    const closing = new Closing(world, clients);
    const [aftermath] = await Promise.all([closing.run(stories), ...steps]);
    const violations = checkAftermath({ ...aftermath, peakRssBytes: memory.peaks });
    const turns: Turn[] = [];
    for await (const evidence of gatherEvidence(history, stories, world.truth)) {
      violations.push(...checkJob(evidence));
      turns.push(...turnOf(evidence));
    }
    violations.push(...checkTurns(turns));
    const mib = Object.entries(memory.peaks).map(
      ([name, bytes]) => `${name} ${Math.round(bytes / 2 ** 20)} MiB`,
    );
    say(
      `${history.operations.length} clients, ${history.injected.length} faults met; at most ${mib.join(', ')}; ${violations.length === 0 ? 'nothing is wrong' : 'something is wrong'}`,
    );
    return violations;
  } finally {
    memory.stop();
    await clients.close();
    await history.close();
  }
}
