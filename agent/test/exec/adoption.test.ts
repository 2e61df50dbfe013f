import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { encodeLine, glanceAtJournal } from '../../src/folder/journal.ts';
import { writeEndedExecs } from '../support/ended-execs.ts';
import { StoreLab } from '../support/store-lab.ts';
import { waitFor } from '../support/wait-for.ts';

const unlimited = { maxCount: 1e9, maxAgeMs: 1e15, maxTotalBytes: 1e15 };

let lab: StoreLab;
afterEach(() => lab.close());

/** A store that is closed, over the folders of `count` ended execs; returns their ends. */
function closedLab(count: number, acknowledged: boolean, retention = unlimited) {
  lab = new StoreLab({ retention });
  lab.store.close();
  return writeEndedExecs({ execs: join(lab.home, 'execs'), count, acknowledged });
}

describe('an agent that starts again with many ended execs', () => {
  it('answers each as it ended, and reports what was not acknowledged', () => {
    const ends = closedLab(300, false);
    lab.reopen();
    expect(lab.store.unacknowledgedIds().sort()).toEqual(ends.map((end) => end.exec_id).sort());
    expect(lab.store.get('ended-299')).toEqual(ends[299]);
    lab.store.acknowledge(['ended-299']);
    lab.reopen();
    expect(lab.store.unacknowledgedIds()).toHaveLength(299);
    expect(lab.store.get('ended-299')).toEqual(ends[299]);
  });

  it('reads a verdict when someone asks for it, not before', () => {
    closedLab(300, true);
    const parse = vi.spyOn(JSON, 'parse');
    lab.reopen();
    // A look at 300 journals would parse 900 lines and more.
    expect(parse.mock.calls.length).toBeLessThan(100);
    parse.mockRestore();
    expect(lab.store.unacknowledgedIds()).toEqual([]);
    expect(lab.store.get('ended-7').status).toBe('finished');
  });

  it('looks closely at a journal that is damaged, and judges by the rest of the folder [row 36]', () => {
    closedLab(2, true);
    const path = join(lab.home, 'execs', 'ended-0', 'journal');
    writeFileSync(path, readFileSync(path, 'utf8').replace('"status":"finished"', '"status":"Finished"'));
    lab.reopen();
    expect(lab.store.get('ended-0')).toMatchObject({ status: 'lost', warnings: ['state_damaged'] });
    expect(lab.store.get('ended-1')).toMatchObject({ status: 'finished' });
  });

  it('says what is left where a journal goes after the start', () => {
    const [end] = closedLab(1, true);
    lab.reopen();
    expect(lab.store.get('ended-0')).toEqual(end);
    rmSync(join(lab.home, 'execs', 'ended-0', 'journal'));
    expect(lab.store.get('ended-0')).toMatchObject({ status: 'lost', reason: 'state_removed' });
  });

  it('takes a torn or changed verdict for none', () => {
    closedLab(1, false);
    const text = readFileSync(join(lab.home, 'execs', 'ended-0', 'journal'), 'utf8');
    expect(glanceAtJournal(text)).toEqual({ acknowledged: false });
    for (let cut = 2; cut < 40; cut++) expect(glanceAtJournal(text.slice(0, -cut))).toBeUndefined();
    expect(glanceAtJournal(text.replace('"exit_code":0', '"exit_code":1'))).toBeUndefined();
    const line = encodeLine({ acknowledged: true, acknowledged_ms: 5 });
    expect(glanceAtJournal(text + line)).toEqual({ acknowledged: true, acknowledgedMs: 5 });
    expect(glanceAtJournal(line)).toBeUndefined();
  });

  it('removes what is over a limit in steps, keeps the newest, and remembers every id', async () => {
    closedLab(300, true, { ...unlimited, maxCount: 10 });
    lab.reopen();
    const folder = (i: number) => existsSync(join(lab.home, 'execs', `ended-${i}`));
    await waitFor('the oldest 290 to go', () => !folder(289) && !folder(0));
    await waitFor('the last step', () => Array.from({ length: 290 }, (_, i) => folder(i)).every((is) => !is));
    expect(Array.from({ length: 10 }, (_, i) => folder(290 + i)).every(Boolean)).toBe(true);
    lab.reopen();
    for (const id of ['ended-0', 'ended-150', 'ended-289'])
      expect(() => lab.store.get(id)).toThrow(
        expect.objectContaining({
          details: expect.objectContaining({ facts: { removed_at: expect.any(String) } }),
        }),
      );
  });
});
