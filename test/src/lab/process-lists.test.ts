import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { ProcessLists } from './process-lists.ts';
import { waitFor } from './wait-for.ts';

test('a word in the arguments or the environment of a process is found', async () => {
  const word = `word-${process.pid}`;
  const lists = ProcessLists.watch(word);
  const children = [
    spawn('sleep', ['60'], { argv0: word }),
    spawn('sleep', ['61'], { env: { PATH: process.env.PATH, WORD: word } }),
  ];
  try {
    await waitFor('both', () => new Set(lists.found).size >= 2);
    expect(new Set(lists.found)).toEqual(
      new Set([`argv ${[word, '60', ''].join('\0')}`, `environ of ${['sleep', '61', ''].join('\0')}`]),
    );
  } finally {
    for (const child of children) child.kill();
    await Promise.all(children.map((child) => once(child, 'close')));
    await lists.stop();
  }
});
