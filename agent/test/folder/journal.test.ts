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
    // Only what is not there at all is not missed.
    const damage = cut > 1 ? 'damaged' : undefined;
    expect(journal).toEqual({ orphaned: true, acknowledged: true, ...(damage && { damage }) });
    if (cut < line.length - 2) expect(journal.identity).toBeUndefined();
  }
  expect(foldJournal(line).identity).toEqual(identity);
});

it('ignores what a newer agent or nobody wrote', () => {
  const text = `\nnot json\n[]\n{"later":{"a":1}}\n{"identity":{"shim":1}}\n${encodeLine({ identity })}`;
  expect(foldJournal(text)).toEqual({
    orphaned: false,
    acknowledged: false,
    identity,
    damage: 'damaged',
  });
});

it('reads the lines of an agent that wrote no sums', () => {
  expect(foldJournal(`\n${JSON.stringify({ identity })}\n`)).toEqual({
    orphaned: false,
    acknowledged: false,
    identity,
  });
});

const whole = [
  encodeLine({ identity }),
  encodeLine({ cancel: { cause: 'cancel', signal: 'TERM', at_ms: 1, at_uptime_ms: 2, grace_ms: 3 } }),
  encodeLine({ acknowledged: true }),
].join('');

it('cut at any byte, it says what the whole lines say and that something is torn [row 35]', () => {
  const truth = foldJournal(whole);
  for (let cut = 0; cut < whole.length; cut++) {
    const { damage, ...said } = foldJournal(whole.slice(0, cut));
    for (const [name, value] of Object.entries(said)) {
      if (value !== false) expect([cut, name, value]).toEqual([cut, name, truth[name as keyof typeof truth]]);
    }
    const atLine = whole[cut - 1] === '\n' || cut === 0;
    const lastIsWhole = whole[cut] === '\n';
    expect([cut, damage]).toEqual([cut, atLine || lastIsWhole ? undefined : 'torn']);
  }
});

it('with any byte changed, it says the same or says that it is damaged [row 36]', () => {
  const truth = foldJournal(whole);
  const bytes = Buffer.from(whole);
  for (let at = 0; at < bytes.byteLength; at++) {
    for (const bit of [0x01, 0x10, 0x80]) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ bit;
      const { damage, ...said } = foldJournal(changed.toString('utf8'));
      if (damage === undefined) expect([at, bit, said]).toEqual([at, bit, truth]);
      else
        for (const [name, value] of Object.entries(said))
          if (value !== false) expect(value).toEqual(truth[name as keyof typeof truth]);
    }
  }
});
