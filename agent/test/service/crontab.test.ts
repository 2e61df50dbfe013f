import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hasBootLine, withBootLine, withoutBootLine } from '../../src/service/crontab.ts';

const name = 'codex-remote-agent-0123456789ab';

const path = fc
  .string({ unit: 'grapheme', minLength: 1 })
  .filter((text) => !/\p{Cc}/u.test(text))
  .map((text) => `/${text}`);

/** What cron(8) hands to sh of a line: up to the first % without a backslash, backslashes before % gone. */
function commandOf(line: string): string {
  const command = line.replace(/^@reboot /, '');
  const end = command.search(/(?<!\\)%/);
  return (end < 0 ? command : command.slice(0, end)).replaceAll('\\%', '%');
}

describe('the line of an agent in a crontab', () => {
  test('is added behind what is there, replaced in place of doubled, and taken out again', () => {
    const theirs = 'MAILTO=me\n# mine\n0 4 * * * backup # codex-remote-agent-of-mine\n@reboot other\n';
    const once = withBootLine(theirs, name, ['/bin/sh', '/old/keeper.sh']);
    expect(once).toBe(`${theirs}@reboot '/bin/sh' '/old/keeper.sh' >/dev/null 2>&1 # ${name}\n`);
    const twice = withBootLine(once, name, ['/bin/sh', '/new/keeper.sh']);
    expect(twice).toBe(once.replace('/old/', '/new/'));
    expect(hasBootLine(twice, name)).toBe(true);
    expect(withoutBootLine(twice, name)).toBe(theirs);
    expect(hasBootLine(theirs, name)).toBe(false);
  });

  test("of another home is another's", () => {
    const both = withBootLine(withBootLine('', name, ['a']), 'codex-remote-agent-ba9876543210', ['b']);
    expect(withoutBootLine(both, name)).toBe(
      "@reboot 'b' >/dev/null 2>&1 # codex-remote-agent-ba9876543210\n",
    );
  });

  test('begins on a line of its own where the last one has no end', () => {
    expect(withBootLine('0 4 * * * backup', name, ['a']).split('\n')).toHaveLength(3);
  });

  test('never touches a byte of other lines, whatever they are', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('|', '\n')),
        (text) => {
          fc.pre(!hasBootLine(text, name));
          const added = withBootLine(text, name, ['a']);
          const newline = text === '' || text.endsWith('\n') ? '' : '\n';
          expect(withoutBootLine(added, name)).toBe(`${text}${newline}`);
        },
      ),
    );
  });

  test('gives the shell every word as it is', () => {
    fc.assert(
      fc.property(fc.array(path, { minLength: 1, maxLength: 4 }), (words) => {
        // A backslash before % is cron's: paths with both in a row cannot be said to it.
        fc.pre(words.every((word) => !word.includes('\\%')));
        const line = withBootLine('', name, ['printf', '%s\\n', ...words]).trimEnd();
        const command = commandOf(line).replace(' >/dev/null 2>&1', '');
        const said = execFileSync('/bin/sh', ['-c', command], { encoding: 'utf8' });
        expect(said).toBe(`${words.join('\n')}\n`);
      }),
      { numRuns: 60 },
    );
  });
});
