import { expect, it } from 'vitest';
import { encodeLine, foldJournal } from '../../src/folder/journal.ts';
import type { StoredIdentity } from '../../src/folder/stored.ts';

const identity: StoredIdentity = { shim: { pid: 10, start: 5 }, started_ms: 2_000, started_uptime_ms: 50 };

it('a line that was cut spoils neither those before nor those after it [row 35]', () => {
  const line = encodeLine({ identity });
  for (let cut = 0; cut < line.length - 1; cut++) {
    const journal = foldJournal(
      `${encodeLine({ orphaned: true })}${line.slice(0, cut)}${encodeLine({ acknowledged: true })}`,
    );
    // Without its last newline the line is whole all the same.
    expect(journal).toEqual({
      orphaned: true,
      acknowledged: true,
      ...(cut === line.length - 1 && { identity }),
    });
    if (cut < line.length - 2) expect(journal.identity).toBeUndefined();
  }
  expect(foldJournal(line).identity).toEqual(identity);
});

it('ignores what a newer agent or nobody wrote', () => {
  const text = `\nnot json\n[]\n{"later":{"a":1}}\n{"identity":{"shim":1}}\n${encodeLine({ identity })}`;
  expect(foldJournal(text)).toEqual({ orphaned: false, acknowledged: false, identity });
});
