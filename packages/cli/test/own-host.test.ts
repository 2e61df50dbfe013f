import { expect, test } from 'vitest';
import { commands } from '../src/commands/all.ts';
import { nextFromElsewhere, notHere } from '../src/own-host.ts';

test('what works on the host of the controller alone is marked so', () => {
  expect(commands.filter(({ ownHost }) => ownHost).map(({ name }) => name)).toEqual([
    'machine up',
    'controller start',
    'controller serve',
    'controller stop',
    'controller logs',
    'controller rotate-certificate',
  ]);
});

test.each(commands.filter(({ ownHost }) => ownHost).map(({ name }) => [name]))(
  '%s is never the next command for who is elsewhere',
  (name) => {
    const { next_command } = nextFromElsewhere({ next_command: `codex-remote ${name} -m gpu` });
    expect(
      commands.some(
        ({ name: other, ownHost }) => !ownHost && next_command.startsWith(`codex-remote ${other}`),
      ),
    ).toBe(true);
    expect(notHere(name, 'https://controller.example').message).toContain(name);
  },
);

test.each([
  ['codex-remote machine up -m gpu --accept-host-key SHA256:x', 'codex-remote machine show -m gpu'],
  ['codex-remote exec result --id a', 'codex-remote exec result --id a'],
  ['codex-remote exec run -m gpu --cmd "codex-remote machine up -m gpu"', undefined],
])('%s', (line, other) => {
  expect(nextFromElsewhere({ next_command: line, ok: true })).toEqual({
    next_command: other ?? line,
    ok: true,
  });
});

test('an answer without a next command stays as it is', () => {
  expect(nextFromElsewhere({ ok: true })).toEqual({ ok: true });
});
