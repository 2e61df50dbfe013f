import { expect, test } from 'vitest';
import { Listing } from '../src/commands/sync/outcome.ts';
import { progressText, shownBytes } from '../src/commands/sync/progress.ts';

const progress = {
  phase: 'sending',
  entries: 10,
  files: 1,
  filesTotal: 4,
  bytes: 1e6,
  bytesTotal: 5e6,
} as const;

test.each([
  ['while nothing is to be sent', { ...progress, filesTotal: 0 }, 0, '10 names compared'],
  ['with no rate yet', progress, 0, '1 of 4 files, 1.0 MB of 5.0 MB'],
  ['with a rate', progress, 2e6, '1 of 4 files, 1.0 MB of 5.0 MB, 2.0 MB/s, 2.0 s left'],
  [
    'while names are still compared',
    { ...progress, phase: 'comparing' as const },
    2e6,
    '10 names compared, 1 of 4 files, 1.0 MB of 5.0 MB, 2.0 MB/s, 2.0 s left',
  ],
  [
    'while the connection is away',
    { ...progress, phase: 'waiting' as const },
    2e6,
    'waiting for the connection',
  ],
])('progress %s', (_, at, rate, text) => {
  expect(progressText(at, rate)).toBe(text);
});

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1.0 kB'],
  [999_499, '999 kB'],
  [999_500, '1.0 MB'],
  [1.5e12, '1.5 TB'],
])('%d bytes are %s', (bytes, text) => expect(shownBytes(bytes)).toBe(text));

test('an answer lists two hundred names of a kind, none twice, and says that there are more', () => {
  const listing = new Listing();
  for (let round = 0; round < 2; round++)
    for (let n = 0; n < 150; n++)
      listing.add({ do: 'refuse', path: `f${n}`, code: 'file_changed', why: 'w' });
  expect(listing.fields()).toMatchObject({ refused_names: { length: 150 } });
  expect(listing.fields()).not.toHaveProperty('names_more');
  for (let n = 150; n < 250; n++) listing.add({ do: 'refuse', path: `f${n}`, why: 'w' });
  listing.add({ do: 'send', path: '\xff', size: 3 });
  expect(listing.fields()).toMatchObject({
    refused_names: { length: 200 },
    names_more: true,
    changes: [{ do: 'send', path_b64: '/w==', size: 3 }],
  });
});
