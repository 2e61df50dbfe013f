import { execIdPattern, namePattern } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { Parser } from '@oclif/core';
import { expect, test } from 'vitest';
import { commands, table } from '../src/commands/all.ts';
import { hotCommands } from '../src/commands/hot.ts';
import { hotNames } from '../src/commands/hot-names.ts';
import { oclifArgv } from '../src/oclif/argv.ts';
import { classesOf, valuesOf } from '../src/oclif/classes.ts';
import type { Flag } from '../src/table/flag.ts';
import { execIdRule, machineNameRule } from '../src/table/names.ts';
import { Table } from '../src/table/parse.ts';

const now = Date.parse('2026-01-02T00:00:00Z');
const classes = classesOf(commands, () => now);

/** A command line in words; `"` groups, as a shell does. */
function words(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
}

type Result = { command: string; values: unknown; argv: unknown } | { usage: true };

function quick(args: readonly string[], from = table): Result {
  try {
    const parsed = from.parse(from.tokenize(args), now);
    if (parsed.kind === 'help') throw new Error('help');
    return { command: parsed.command.name, values: comparable(parsed.values), argv: parsed.argv };
  } catch (error) {
    if (error instanceof RemoteError && error.code === 'usage') return { usage: true };
    throw error;
  }
}

async function byOclif(args: readonly string[]): Promise<Result> {
  const tokens = table.tokenize(args);
  const found = table.find(tokens.words);
  if (found === undefined) return { usage: true };
  const { flags, args: oclifArgs } = classes[found.command.name.replace(' ', ':')] ?? {};
  if (flags === undefined || oclifArgs === undefined) throw new Error(`no class for ${found.command.name}`);
  try {
    const output = await Parser.parse(oclifArgv(tokens, found.command), {
      flags,
      args: oclifArgs,
      strict: true,
    });
    return {
      command: found.command.name,
      values: comparable(valuesOf(found.command, output, tokens.argv, now)),
      argv: tokens.argv,
    };
  } catch (error) {
    const ours = error instanceof RemoteError && error.code === 'usage';
    if (ours || (error instanceof Error && 'oclif' in error)) return { usage: true };
    throw error;
  }
}

/** Key order and the moment of parsing do not matter. */
function comparable(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const sorted = Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(
    sorted.map(([name, value]) => [name, value instanceof RegExp ? String(value) : value]),
  );
}

const corpus = [
  'exec run -m box --cmd ls',
  'exec start -m box --queue gpu --after a --after b --after-any c --cmd ls',
  'exec start -m box --queue "no name" --cmd ls',
  'exec start -m box --after UPPER --cmd ls',
  'exec artifacts abc',
  'exec artifacts --id abc --dst out --force --allow-autorun --limit 5',
  'exec artifacts abc --dst ""',
  'exec artifacts abc --limit x',
  'exec start -m box --artifact "out/*.json" --artifact "**/report.md" --cmd ls',
  'exec start -m box --artifact /etc/passwd --cmd ls',
  'exec start -m box --artifact out/../../x --cmd ls',
  'exec start -m box --artifact "" --cmd ls',
  'machine set -m box --queue gpu=1 --queue cpu=0',
  'machine set box --queue gpu=10000',
  'machine set box --queue gpu=10001',
  'machine set box --queue gpu',
  'machine set box --policy allow --allow "make test ..." --allow ls --require-label',
  'machine set box --policy none',
  'machine set box --allow-cwd /srv --allow-env LEVEL --no-require-label',
  'machine set box --queue =1',
  'machine set box --queue gpu=-1',
  'exec run --machine box --cmd "ls -l"',
  'exec run --machine=box --cmd=ls',
  'exec run -mbox --cmd ls',
  'exec run -m=box --cmd ls',
  '-m box exec run --cmd ls',
  'exec -m box run --cmd ls',
  '--json exec --brief run',
  'exec run -m box -- ls -la --json -m other',
  'exec run -m box -- -- a',
  'exec run -m box --',
  'exec run -m box --cmd --json',
  'exec run -m box --cmd=--json',
  'exec run -m box --cmd "--env"',
  'exec run -m box --cmd ""',
  'exec run -m box --cmd "a=b c=d"',
  'exec run -m box --cmd=a=b=c',
  'exec run -m box --env A=1 --env B=2 --env A=1 --cmd env',
  'exec run -m box --env A=1 B=2 --cmd env',
  'exec run -m box --timeout 10m --max-wait 50s --connect-wait 0 --cmd ls',
  'exec run -m box --timeout 10 --cmd ls',
  'exec run -m box --timeout 1h30m --cmd ls',
  'exec run -m box --timeout -5s --cmd ls',
  'exec run -m box --timeout',
  'exec run -m box -m box --cmd ls',
  'exec run -m box --merge --merge --cmd ls',
  'exec run -m box --merge=yes --cmd ls',
  'exec run -m box --no-merge --cmd ls',
  'exec run -m Box --cmd ls',
  'exec run -m box --cmd ls stray',
  'exec run -m box --script - --stdin -',
  'exec run -m box --script -',
  'exec run -x box',
  'exec run --unknown',
  'exec run --unknown=1 -m box',
  'exec result abc',
  'exec result --id abc',
  'exec result abc --id abc',
  'exec result abc --id def',
  'exec result abc def',
  'exec result --id ABC',
  'exec result abc --tail 5',
  'exec result abc --tail-lines 5',
  'exec result abc --tail-lines 5 --tail 6',
  'exec result abc --tail-lines 0',
  'exec result abc --tail-lines -1',
  'exec logs abc --stream stdout --tail 2000',
  'exec logs abc --stream out',
  'exec logs abc --since 10m --until 2026-01-01T00:00:00Z --grep "err.*r"',
  'exec logs abc --grep "("',
  'exec logs abc --from 0 --max-bytes 64K --follow',
  'exec wait a b c --any',
  'exec wait --id a --id b c',
  'exec wait c --id a --id b',
  'exec watch a --cursor v1.0.0.a',
  'exec cancel a --signal INT --grace 0',
  'exec cancel a --signal HUP',
  'exec list --status running,queued --status lost --limit 5 -m box --session current',
  'exec list extra',
  'exec diff abc --stat',
  'exec diff --id abc -m box --max-bytes 2M',
  'exec diff abc --stat=yes',
  'exec diff abc def',
  'exec apply abc --dry-run --allow-autorun --dir ../x',
  'exec apply --id abc --dir',
  'exec apply abc --force',
  'file read -m box /etc/hosts',
  'file read /etc/hosts -m box --from 5 --max-bytes 1K --raw',
  'file read -m box --path=-x --dst out',
  'file read -m box --path -x',
  'file read -m box a b',
  'file read -m box --path-b64 L2V0Yw== --expect-version 1-2-3',
  'file read -m box --path-b64 "not base64"',
  'file write -m box notes --content "a b" --mode 0644',
  'file write -m box notes --content --raw',
  'file write -m box notes --src - --create-only --parents',
  'file write -m box notes --src x --mode 8',
  'file write -m box notes --src x --expect-sha256 abc',
  'file remove -m box old --recursive --yes',
  'file mkdir -m box a/b --parents --mode 0750',
  'file list -m box',
  'file list -m box "a b" --limit 5 --cursor YQ',
  'file stat -m box --sha256 ~/x',
  'machine list',
  'machine invite box',
  'machine invite box --bundle box.sh',
  'controller serve --listen 0.0.0.0:7443 --public-url https://controller.example:7443',
  'controller serve --listen nowhere',
  'controller rotate-certificate --overlap 2d',
  'machine add gpu --ssh me@192.0.2.7:2222 --agent-home /srv/x',
  'machine up gpu --accept-host-key SHA256:abc+/= --transport system --bridge --system-node',
  'machine up --ssh "" gpu',
  'machine check gpu --exit-code',
  'machine down gpu --purge',
  'machine -m gpu show',
  'machine invite -m gpu --bundle gpu.sh',
  'token create --scope exec:run:gpu --scope logs:read -m gpu -m box --ttl 7d --label "a laptop" --output t',
  'token create --scope admin --ttl none',
  'token create --scope admin --ttl 0',
  'token create --scope admin --ttl 7',
  'token create --scope ""',
  'token create admin',
  'project add app --repo . -m gpu -m box --default-ref main',
  'project add lib --repo https://example.org/lib.git --default-ref=v1',
  'project add lib --repo git@example.org:lib.git --default-ref --upload-pack=x',
  'project add Lib --repo .',
  'project add a/b --repo .',
  'project list',
  'project show app',
  'project show --project app lib',
  'project remove app --purge',
  'project remove --purge app',
  'sync push -m box --src . --dst ~/x',
  'sync push -m box --src=. --dst=x --delete --yes --dry-run --checksum --no-ignore --watch',
  'sync push -m box --src . --dst x --exclude a --include b --exclude "!c" --exclude a',
  'sync push -m box --src . --dst x --exclude ""',
  'sync push . x -m box',
  'sync push -m box --src . --src x --dst y',
  'sync push -m box --src . --dst x --allow-autorun',
  'sync pull -m box --src ~/x --dst . --allow-autorun --connect-wait 1m',
  'sync pull -m box --src "" --dst .',
  'exec run -m box --project . --ref WORKTREE --include-large -- npm test',
  'exec run -m box --project app --ref v1.0~2 --workspace w1 --clean --cmd ls',
  'exec start -m box --project ../a --ref "feature/x y" --keep-worktree --cmd ls',
  'exec start -m box --project=../-a --ref=HEAD^ --cmd ls',
  'exec start -m box --project App --ref main --cmd ls',
  'exec start -m box --project app --ref --all --cmd ls',
  'exec start -m box --project app --ref "" --cmd ls',
  'exec start -m box --project app --workspace a/b --cmd ls',
  'token list',
  'token revoke 01k9qzv8j0abcdefghjk',
  'token revoke 01k9qzv8j0abcdefghjk.secret',
  'token revoke ABC',
  'controller serve --replace --listen 127.0.0.1:0 --public-url https://controller.example',
  'controller rotate-certificate --overlap 1h',
  'controller status',
  'controller logs --tail 3',
  'audit list -m box --verb exec.start --since 10m --limit 5',
  'audit list --since never',
  'audit list --verb',
  'audit verify --json',
  'audit verify now',
  'controller status -- x',
  'version',
  'version --json --human',
  'exec nothing',
  'nothing at all',
];

test.each(corpus)('both parsers agree: %s', async (line) => {
  const args = words(line);
  expect(await byOclif(args)).toEqual(quick(args));
});

test('what is hot goes by the name alone, and its own table makes no more of a line than the whole one', () => {
  expect(hotCommands.map(({ name }) => name)).toEqual([...hotNames]);
  const hot = new Table(hotCommands);
  let same = 0;
  for (const line of corpus) {
    const args = words(line);
    // Wrong usage is told by the whole table.
    if (!hotNames.has(args.slice(0, 2).join(' ')) || 'usage' in quick(args, hot)) continue;
    expect(quick(args, hot), line).toEqual(quick(args));
    same++;
  }
  expect(same).toBeGreaterThan(30);
});

test('the corpus meets every command, and both answers', () => {
  const results = corpus.map((line) => quick(words(line)));
  const met = new Set(results.flatMap((result) => ('command' in result ? [result.command] : [])));
  const quiet = ['machine remove', 'controller start', 'controller stop'];
  expect([...met].sort()).toEqual(
    commands
      .map(({ name }) => name)
      .filter((name) => !quiet.includes(name))
      .sort(),
  );
});

test('an argument vector after -- is exact, whatever it holds', () => {
  const printable = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index));
  const argv = ['b', 'a', 'b', '--json', '-m', '--', '', ' ', "it's", '"q"', '\n', ...printable];
  const parsed = quick(['exec', 'run', '-m', 'box', '--', ...argv]);
  expect('argv' in parsed && parsed.argv).toEqual(argv);
});

test('a flag has one arity over all commands, and its letters and aliases mean one flag', () => {
  const kinds = new Map<string, string>();
  for (const command of commands) {
    for (const [name, flag] of Object.entries<Flag>(command.flags)) {
      for (const written of [
        name,
        ...(flag.aliases ?? []),
        ...(flag.char === undefined ? [] : [`-${flag.char}`]),
      ]) {
        const meaning = `${name} ${flag.kind === 'switch' ? 'switch' : 'value'}`;
        expect(kinds.get(written) ?? meaning, `${command.name} --${written}`).toBe(meaning);
        kinds.set(written, meaning);
      }
    }
  }
});

test.each([
  ['exec rnu', 'exec run'],
  ['exce run', 'exec'],
  ['machin list', 'machine'],
  ['exec run --cdm ls', '--cmd'],
  ['exec run --timout 5s', '--timeout'],
  ['exec logs x --tial 4', '--tail'],
])('%s suggests %s', (line, suggestion) => {
  expect(() => table.parse(table.tokenize(words(line)), now)).toThrow(suggestion);
});

test('the names are those of the schema', () => {
  expect([String(execIdRule), String(machineNameRule)]).toEqual([String(execIdPattern), String(namePattern)]);
});
