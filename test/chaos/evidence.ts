import { readFile } from 'node:fs/promises';
import { type Answer, type Printed, readPrinted } from './answers.ts';
import type { History, Operation } from './history.ts';
import type { Story } from './plan.ts';
import { inputOf } from './requests.ts';
import { readTruth, type Truth } from './truth.ts';

/** Everything that is known of one job: what it did, and what was said of it. */
export interface Evidence {
  readonly story: Story;
  readonly truth: Truth;
  readonly printed: readonly (Printed & { readonly operation: Operation })[];
  /** Answers about it, the rows of lists among them. */
  readonly answers: readonly Answer[];
  /** We killed its shim. */
  readonly shimKilled: boolean;
  /** What was sent to it as stdin. */
  readonly input?: Uint8Array;
}

/** A promise that was broken. */
export interface Violation {
  readonly rule: string;
  readonly story?: string;
  /** Numbers of operations. */
  readonly operations: readonly number[];
  readonly what: string;
}

/** Job after job, so that the bytes of only one are held at a time. */
export async function* gatherEvidence(
  history: Pick<History, 'operations' | 'injected' | 'printedPath'>,
  stories: readonly Story[],
  truthFolder: string,
): AsyncGenerator<Evidence> {
  const read = async (operation: Operation) => ({
    operation,
    ...readPrinted(operation, await readFile(history.printedPath(operation.n))),
  });
  const rows: Answer[] = [];
  for (const operation of history.operations)
    if (operation.kind === 'list' || operation.kind === 'last_list')
      rows.push(...(await read(operation)).answers);
  const killed = new Set(
    history.injected.flatMap(({ fault, met }) =>
      fault.kind === 'kill_shim' && met !== '' ? fault.story : [],
    ),
  );
  for (const story of stories) {
    const operations = history.operations.filter((operation) => operation.story === story.id);
    const printed = await Promise.all(operations.map(read));
    const input = inputOf(story);
    yield {
      story,
      truth: await readTruth(truthFolder, story.id),
      printed,
      answers: [...printed.flatMap(({ answers }) => answers), ...rows].filter(
        ({ execId }) => execId === story.id,
      ),
      shimKilled: killed.has(story.id),
      ...(input && { input }),
    };
  }
}
