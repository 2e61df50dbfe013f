import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import {
  agentVerbs,
  execSpec,
  hello,
  machineAdd,
  projectAdd,
  queuesRequest,
  worktreeSpec,
} from '@codex-remote/protocol/schema';
import { encodeRecord, streamId } from '@codex-remote/protocol/wire';
import { Cli } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** What no machine, exec or queue is called. None begins with `-` in the table of the CLI: that is a flag there. */
const names: readonly (readonly [what: string, name: string])[] = [
  ['a path', '../../x'],
  ['an absolute path', '/etc/passwd'],
  ['dots', '..'],
  ['a hidden file', '.x'],
  ['a quote', "a'b"],
  ['two quotes', 'a"b'],
  ['a substitution', '$(touch x)'],
  ['backticks', '`touch x`'],
  ['a variable', '${HOME}'],
  ['a semicolon', 'a;b'],
  ['a newline', 'a\nb'],
  ['a newline at its end', 'a\n'],
  ['a carriage return', 'a\rb'],
  ['a space', 'a b'],
  ['an escape', '\u001b[31ma'],
  ['300 characters', 'a'.repeat(300)],
  ['capitals', 'Box'],
  ['a Cyrillic letter', 'b\u043ex'],
  ['a full-width letter', '\uff42ox'],
  ['a combining mark', 'bo\u0301x'],
  ['a bidi override', 'a\u202eb'],
  ['half a surrogate pair', 'a\ufffd'],
  ['an at sign', 'me@box'],
  ['a colon', 'box:22'],
  ['a percent sign', '%2e%2e'],
  ['a star', '*'],
];
const beyondArgv: readonly (readonly [string, string])[] = [
  ['an option', '-oProxyCommand=touch x'],
  ['two dashes', '--'],
  ['NUL', 'a\0b'],
  ['nothing', ''],
];

describe('a name that is none', () => {
  test.each([...names, ...beyondArgv])(
    'with %s is refused by every schema that carries one [row 91]',
    (_what, name) => {
      const spec = {
        exec_id: 'x',
        command: { kind: 'argv', argv: ['true'] },
        env: {},
        stdin: false,
        merge: false,
        mode: 'run',
      };
      expect(execSpec.safeParse(spec).success).toBe(true);
      expect(execSpec.safeParse({ ...spec, exec_id: name }).success).toBe(false);
      expect(execSpec.safeParse({ ...spec, queue: name }).success).toBe(false);
      expect(execSpec.safeParse({ ...spec, after: [name] }).success).toBe(false);
      expect(execSpec.safeParse({ ...spec, after_any: [name] }).success).toBe(false);
      expect(machineAdd.safeParse({ name }).success).toBe(false);
      expect(queuesRequest.safeParse({ concurrency: { [name]: 1 } }).success).toBe(false);
      const repo = { kind: 'url', url: 'https://example.org/app' };
      expect(projectAdd.safeParse({ name: 'app', repo }).success).toBe(true);
      expect(projectAdd.safeParse({ name, repo }).success).toBe(false);
      expect(projectAdd.safeParse({ name: 'app', repo, machines: [name] }).success).toBe(false);
      for (const verb of ['git.have', 'git.receive', 'git.fetch', 'git.remove'] as const)
        expect(agentVerbs[verb].params.shape.project.safeParse(name).success).toBe(false);
      for (const field of ['project', 'workspace'] as const)
        expect(worktreeSpec.shape[field].safeParse(name).success).toBe(false);
      expect(hello.shape.machine.safeParse(name).success).toBe(false);
      for (const verb of ['exec.start', 'exec.get', 'exec.logs', 'exec.cancel'] as const)
        expect(agentVerbs[verb].params.shape.exec_id.safeParse(name).success).toBe(false);
    },
  );
});

describe('a controller and a machine that are given odd words', () => {
  let cli: Cli;
  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
  });
  afterAll(() => cli?.close());

  const marks = () =>
    readdirSync(cli.home, { recursive: true }).filter((path) => /(^|\/)x$/.test(String(path)));

  function ask(method: string, path: string, body?: Uint8Array | string, type = 'application/json') {
    return new Promise<{ status: number; code: unknown }>((resolve, reject) => {
      const headers = body === undefined ? {} : { 'content-type': type };
      const asked = request(
        { socketPath: join(cli.home, 'run/api.sock'), method, path, headers },
        (response) => {
          const parts: Buffer[] = [];
          response.on('data', (part: Buffer) => parts.push(part));
          response.on('end', () => {
            const { error } = JSON.parse(Buffer.concat(parts).toString());
            resolve({ status: response.statusCode ?? 0, code: error?.code });
          });
        },
      );
      asked.on('error', reject);
      asked.end(body);
    });
  }

  test.each(names)(
    'a name with %s: wrong usage that says the rule, one line, nothing sent or made [row 91]',
    async (_what, name) => {
      const lines = [
        ['machine', 'add', '-m', name],
        ['exec', 'start', '-m', 'local', '--id', name, '--cmd', 'true'],
        ['exec', 'start', '-m', 'local', '--queue', name, '--cmd', 'true'],
        ['exec', 'result', '--id', name],
      ];
      const ran = await Promise.all(lines.map((line) => cli.run(line)));
      for (const { status, stdout, stderr } of ran) {
        expect(status).toBe(2);
        const { error } = JSON.parse(stdout.toString());
        expect(error).toMatchObject({ code: 'usage', sent: 'no' });
        expect(error.message).toMatch(/a-z|\[a-z0-9\]/);
        expect(stderr.trimEnd().split('\n')).toHaveLength(1);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
        expect(stdout.toString() + stderr).not.toMatch(/[\u001b\u202e]/);
      }
      expect((await cli.json(['exec', 'list'])).execs).toEqual([]);
      expect(marks()).toEqual([]);
    },
  );

  test.each([...names, ['an option', '-oProxyCommand=touch x'] as const])(
    'a name with %s, sent to the API by hand: an error of ours, nothing made [row 91]',
    async (_what, name) => {
      const encoded = encodeURIComponent(name);
      const spec = JSON.stringify({
        ...{ exec_id: name, command: { kind: 'argv', argv: ['touch', join(cli.home, 'x')] } },
        ...{ env: {}, stdin: false, merge: false, mode: 'run' },
      });
      const body = encodeRecord({ kind: 'data', stream: streamId.spec, offset: 0, bytes: Buffer.from(spec) });
      const records = 'application/vnd.codex-remote.records';
      const answers = [
        await ask('POST', '/v1/machines', JSON.stringify({ name })),
        await ask('GET', `/v1/machines/${encoded}`),
        await ask('POST', `/v1/machines/${encoded}/check`, '{}'),
        await ask('DELETE', `/v1/machines/${encoded}`),
        await ask('POST', `/v1/machines/local/queues`, JSON.stringify({ concurrency: { [name]: 1 } })),
        await ask('POST', `/v1/execs?machine=local&exec_id=${encoded}`, body, records),
        await ask('GET', `/v1/execs/${encoded}`),
        await ask('GET', `/v1/execs?machine=${encoded}`),
      ];
      for (const { status, code } of answers) {
        expect(status).toBeGreaterThanOrEqual(400);
        expect(status).toBeLessThan(500);
        expect(code).toMatch(
          /^(usage|unknown_machine|exec_not_found|unknown_verb|protocol_error|ssh_config_invalid|too_large)$/,
        );
      }
      expect((await cli.json(['machine', 'list'])).machines).toHaveLength(1);
      expect((await cli.json(['exec', 'list'])).execs).toEqual([]);
      expect(marks()).toEqual([]);
      expect(existsSync('/tmp/x')).toBe(false);
    },
  );

  test('labels and sessions are text: kept as they are, found by it, and one line where they are shown [row 91]', async () => {
    const label = '../../x \'$(id)\' "q"\nline \u202e\u001b[31m \u043e';
    const id = 'labelled';
    const env = { CODEX_REMOTE_SESSION: label };
    await cli.json(
      ['exec', 'run', '-m', 'local', '--id', id, '--label', label, '--brief', '--cmd', 'true'],
      0,
      { env },
    );
    const found = (await cli.json(['exec', 'list', '--label', label])).execs as Record<string, unknown>[];
    expect(found).toMatchObject([{ exec_id: id }]);
    expect(await cli.json(['exec', 'result', '--id', id])).toMatchObject({ label });
    expect(await cli.json(['exec', 'list', '--session', 'current'], 0, { env })).toMatchObject({ total: 1 });
    const shown = (await cli.run(['exec', 'list', '--human'])).stdout.toString();
    expect(shown.trimEnd().split('\n')).toHaveLength(2);
  });

  test.each([
    ['a space', 'A B=c'],
    ['a dash', 'A-B=c'],
    ['a digit first', '1A=c'],
    ['no name', '=c'],
    ['a newline', 'A\nB=c'],
    ['a function of bash', 'BASH_FUNC_x%%=() { id; }'],
    ['Unicode', '\u00c4=c'],
    ['a look-alike', '\uff21=c'],
  ])('a variable with %s in its name is wrong usage, without its value [row 93]', async (_what, pair) => {
    const { status, stdout } = await cli.run(['exec', 'run', '-m', 'local', '--env', pair, '--cmd', 'true']);
    expect(status).toBe(2);
    expect(JSON.parse(stdout.toString()).error).toMatchObject({ code: 'usage', sent: 'no' });
  });

  test('odd values of variables arrive byte for byte, none is taken apart [row 93]', async () => {
    const values: Record<string, string> = {
      EQUALS: 'A=B=C',
      DOLLAR: '$HOME ${x} $(id) `id`',
      LINES: 'a\nb\r\nc\n',
      QUOTES: `'"\\'`,
      EMPTY: '',
      SPACES: '  a  ',
      UNICODE: 'é\u202e\u{1f600}',
      ESCAPE: '\u001b[31m\u0007',
      LARGE: randomBytes(48 * 1024).toString('hex'),
      BASH_ENV: '/nowhere',
      ENV: '/nowhere',
    };
    const flags = Object.entries(values).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
    const program = 'process.stdout.write(JSON.stringify(process.env))';
    const { status, stdout } = await cli.run([
      ...['exec', 'run', '-m', 'local', '--raw', ...flags],
      ...['--', process.execPath, '-e', program],
    ]);
    expect(status).toBe(0);
    const seen = JSON.parse(stdout.toString());
    const wrong = Object.entries(values).filter(([name, value]) => seen[name] !== value);
    expect(wrong.map(([name]) => name)).toEqual([]);
  });

  test.each([
    ['one of 200 kB', [['BIG', 'x'.repeat(200_000)]]],
    ['many together', Array.from({ length: 30 }, (_, i) => [`BIG${i}`, 'x'.repeat(100_000)])],
  ])(
    'more variables than the system takes, %s: args_too_long, nothing accepted, and the agent lives [row 93]',
    async (_what, pairs) => {
      const variables = join(cli.home, 'variables');
      writeFileSync(variables, pairs.map(([name, value]) => `${name}=${value}`).join('\n'));
      const line = ['exec', 'start', '-m', 'local', '--id', 'big', '--env-file', variables, '--cmd', 'true'];
      const { status, stdout } = await cli.run(line, {});
      expect(status).toBe(1);
      expect(JSON.parse(stdout.toString()).error).toMatchObject({ code: 'args_too_long' });
      expect(
        JSON.parse((await cli.run(['exec', 'result', '--id', 'big'])).stdout.toString()).error.code,
      ).toBe('exec_not_found');
      expect(await cli.json(['machine', 'check', 'local'])).toMatchObject({ daemon_ok: true });
    },
  );

  test('a loader variable reaches the job alone, never a process of ours [row 93]', async () => {
    const line = [
      'exec',
      'run',
      '-m',
      'local',
      '--raw',
      '--env',
      'LD_PRELOAD=/nowhere/evil.so',
      '--env',
      'NODE_OPTIONS=--require=/nowhere/evil.cjs',
    ];
    const { stdout } = await cli.run([...line, '--cmd', 'echo "$LD_PRELOAD $NODE_OPTIONS"']);
    expect(stdout.toString()).toBe('/nowhere/evil.so --require=/nowhere/evil.cjs\n');
    const { agent_home: home } = await cli.json(['machine', 'show', 'local']);
    expect(readFileSync(join(String(home), 'agent.log'), 'utf8')).not.toContain('evil');
    expect(await cli.json(['machine', 'check', 'local'])).toMatchObject({ daemon_ok: true });
  });
});
