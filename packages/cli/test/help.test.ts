import { StandInController } from '@codex-remote/client/testing';
import { expect, test } from 'vitest';
import { commands, nouns, table } from '../src/commands/all.ts';
import { commandHelp, nounHelp, rootHelp } from '../src/help-text.ts';
import { installedCli, runCli } from './support/cli.ts';

test.each(commands.map((command) => [command.name, command] as const))(
  'help of %s is at most 2 kB and has an example that parses',
  (_name, command) => {
    const text = commandHelp(command);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(2000);
    expect(command.examples.length).toBeGreaterThan(0);
    for (const [, line] of command.examples) {
      const args = [...line.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(([, a, b, c]) =>
        (a ?? b ?? c ?? '').replace(/^ID2?$/, 'someid'),
      );
      const parsed = table.parse(table.tokenize(args), 0);
      expect(parsed.kind === 'command' && parsed.command.name).toBe(command.name);
    }
  },
);

test('help of nouns and of the whole is at most 2 kB', () => {
  for (const text of [
    rootHelp(nouns, commands),
    ...Object.entries(nouns).map(([noun, what]) => nounHelp(noun, what, commands)),
  ])
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(2000);
});

test('commands and their flags change only on purpose', () => {
  const flags = Object.fromEntries(
    commands.map(({ name, flags, positional, takesArgv }) => [
      name,
      [
        ...Object.entries(flags).map(
          ([flag, spec]) => `${flag}:${spec.kind}${spec.char ? `:${spec.char}` : ''}`,
        ),
        ...(positional ? [`[${positional}]`] : []),
        ...(takesArgv ? ['--'] : []),
      ].join(' '),
    ]),
  );
  expect(flags).toMatchSnapshot();
});

const cli = installedCli();

test.each([
  [[]],
  [['--help']],
  [['-h']],
  [['help']],
  [['exec']],
  [['exec', '--help']],
  [['help', 'exec', 'run']],
  [['exec', 'run', '-m', 'x', '--help']],
  [['version', '--help']],
])('help from oclif: %s', async (args) => {
  await using controller = new StandInController();
  const ran = await runCli(cli, args, { home: controller.home });
  expect([ran.status, ran.stderr]).toEqual([0, '']);
  expect(ran.stdout).toContain('USAGE');
  expect(Buffer.byteLength(ran.stdout)).toBeLessThanOrEqual(2000);
});

test.each([
  [['help', 'nothing'], 'there are machine, exec'],
  [['nothing', '--help'], 'there are machine, exec'],
  [['exec', 'rum', '--help'], 'did you mean exec run?'],
  [['help', 'exec', 'rum'], 'did you mean exec run?'],
])('help for what is no command is wrong usage, with the nearest: %s', async (args, guess) => {
  await using controller = new StandInController();
  const ran = await runCli(cli, args, { home: controller.home });
  expect(ran.status).toBe(2);
  expect(ran.json[0]).toMatchObject({
    ok: false,
    error: { code: 'usage', message: expect.stringContaining(guess) },
  });
});
