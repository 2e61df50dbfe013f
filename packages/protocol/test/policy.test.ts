import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  canaryArgv,
  decide,
  isNarrower,
  isSamePolicy,
  type MachinePolicy,
  machinePolicy,
  matchesArgv,
  type PolicyRequest,
  parsePattern,
} from '../src/schema/index.ts';

const base: PolicyRequest = { command: { kind: 'argv', argv: ['true'] }, env: {}, stdin: false };
const argv = (...words: string[]): PolicyRequest => ({ ...base, command: { kind: 'argv', argv: words } });
const cmd = (text: string, more: Partial<PolicyRequest> = {}): PolicyRequest => ({
  ...base,
  command: { kind: 'cmd', cmd: text },
  ...more,
});
const allow = (...patterns: string[]): MachinePolicy =>
  machinePolicy.parse({ mode: 'allow', allow: patterns });
const ruleOf = (policy: MachinePolicy, request: PolicyRequest): string => {
  const decision = decide(policy, request);
  return decision.allowed ? 'allowed' : decision.rule;
};
const sha = 'a'.repeat(64);
const worktree = { project: 'site', ref: 'main', commit: sha, tree: sha, dirty: false };

describe('what is no pattern', () => {
  test.each([
    ['', expect.stringContaining('one space')],
    ['[""]', 'it names no program'],
    ['...', 'it names no program'],
    ['*', 'the program is exact: no * in the first word'],
    ['ma*', 'the program is exact: no * in the first word'],
    ['./run.sh', expect.stringContaining('absolute path')],
    ['../bin/x', expect.stringContaining('absolute path')],
    ['bin/x ...', expect.stringContaining('absolute path')],
    [' make', expect.stringContaining('one space')],
    ['make  test', expect.stringContaining('one space')],
    ['make ', expect.stringContaining('one space')],
    ['make\ttest', expect.stringContaining('cannot be seen')],
    ['make te\u200bst', expect.stringContaining('cannot be seen')],
    ['make \u202etset', expect.stringContaining('cannot be seen')],
    ['["make\\n"]', expect.stringContaining('cannot be seen')],
    ['make ... test', '... stands at the end only'],
    ['["make", 1]', expect.stringContaining('JSON array')],
    ['[]', 'it names no program'],
    ['["..."]', 'it names no program'],
    ['cmd:', expect.stringContaining('exact text')],
    ['cmd:sha256:abc', expect.stringContaining('64 hex')],
    ['script:echo', expect.stringContaining('64 hex')],
    [`script:sha256:${sha.toUpperCase()}`, expect.stringContaining('64 hex')],
    ['x'.repeat(600), expect.stringContaining('over 512')],
  ])('%j', (text, why) => {
    expect(parsePattern(text)).toEqual(why);
    expect(machinePolicy.safeParse({ mode: 'allow', allow: [text] }).success).toBe(false);
  });
});

describe('a pattern', () => {
  test.each([
    ['make test ...', ['make', 'test'], true],
    ['make test ...', ['make', 'test', '-j', '4'], true],
    ['make test ...', ['make'], false],
    ['make test', ['make', 'test', 'all'], false],
    ['make test', ['make', 'test '], false],
    ['make test', ['/usr/bin/make', 'test'], false],
    ['git log *', ['git', 'log', 'a b; rm -rf'], true],
    ['git log *', ['git', 'log'], false],
    ['git log --max=*', ['git', 'log', '--max=5'], true],
    ['tar -*f *.tar', ['tar', '-xzf', 'a.tar'], true],
    ['tar -*f *.tar', ['tar', '-xzf', 'a.tar.gz'], false],
    ['x a*b*c', ['x', 'abc'], true],
    ['x a*a', ['x', 'a'], false],
    ['x *ab*ab*', ['x', 'zabab'], true],
    ['x *ab*ab*', ['x', 'zab'], false],
    ['["touch","a b",""]', ['touch', 'a b', ''], true],
    ['["ls","..."]', ['ls', '-l', '*'], true],
    ['/opt/bin/run *', ['/opt/bin/run', 'x'], true],
    ['/opt/bin/run *', ['/opt/bin/../bin/run', 'x'], false],
    ['a.c x', ['abc', 'x'], false],
  ] as const)('%j and %j: %s', (pattern, words, wanted) => {
    expect(ruleOf(allow(pattern), argv(...words))).toBe(wanted ? 'allowed' : 'command');
  });

  const word = fc.string({
    unit: fc.constantFrom('a', 'b', '*', '.', '/', ' ', '-', '\\', '$', 'é'),
    maxLength: 6,
  });
  const words = fc.array(word, { minLength: 1, maxLength: 4 });
  const patternText = fc.oneof(
    words.map((list) => list.join(' ')),
    words.map((list) => JSON.stringify(list)),
    words.map((list) => JSON.stringify([...list, '...'])),
    fc.string({ maxLength: 20 }),
  );

  test('is read or refused, whatever text it is, and never matches another argv[0] or fewer words', () => {
    fc.assert(
      fc.property(patternText, words, (text, list) => {
        const pattern = parsePattern(text);
        if (typeof pattern === 'string' || pattern.kind !== 'argv') return;
        if (!matchesArgv(pattern, list)) return;
        expect(list[0]).toBe(pattern.words[0]);
        expect(list[0]).not.toContain('*');
        expect(list.length).toBeGreaterThanOrEqual(pattern.words.length);
        if (!pattern.rest) expect(list.length).toBe(pattern.words.length);
      }),
      { numRuns: 3000 },
    );
  });

  test('means the same as the obvious regular expression', () => {
    const obvious = (glob: string): RegExp =>
      new RegExp(
        `^${glob.replaceAll(/[^*]/gu, (c) => `\\u{${c.codePointAt(0)?.toString(16)}}`).replaceAll('*', '.*')}$`,
        'su',
      );
    fc.assert(
      fc.property(word, word, (glob, text) => {
        fc.pre(glob !== '...');
        const pattern = parsePattern(JSON.stringify(['x', glob]));
        if (typeof pattern === 'string' || pattern.kind !== 'argv') throw new Error(String(pattern));
        expect(matchesArgv(pattern, ['x', text])).toBe(obvious(glob).test(text));
      }),
      { numRuns: 3000 },
    );
  });

  test('takes no longer for what is made to take long', () => {
    const pattern = parsePattern(JSON.stringify(['x', `${'*a'.repeat(200)}*b`]));
    if (typeof pattern === 'string' || pattern.kind !== 'argv') throw new Error(String(pattern));
    const matches = () => matchesArgv(pattern, ['x', 'a'.repeat(1_000_000)]);
    // One that goes back for every star does not end by itself.
    expect(runInNewContext('matches()', { matches }, { timeout: 60_000 })).toBe(false);
  });
});

describe('a decision', () => {
  test('full lets everything start, read-only nothing', () => {
    for (const request of [
      argv('rm', '-rf', '/'),
      cmd('x'),
      { ...base, stdin: true, env: { LD_PRELOAD: 'x' } },
    ]) {
      expect(ruleOf({ mode: 'full' }, request)).toBe('allowed');
      expect(ruleOf({ mode: 'read-only' }, request)).toBe('read-only');
    }
  });

  test('with require_label every exec says what it is for', () => {
    for (const mode of ['full', 'allow'] as const) {
      const policy = machinePolicy.parse({
        mode,
        require_label: true,
        ...(mode === 'allow' && { allow: ['true'] }),
      });
      for (const label of [undefined, '', '  ']) expect(ruleOf(policy, { ...base, label })).toBe('label');
      expect(ruleOf(policy, { ...base, label: 'nightly' })).toBe('allowed');
    }
  });

  test('allow refuses what changes what an argument vector runs', () => {
    const policy = machinePolicy.parse({ mode: 'allow', allow: ['true'], cwd: ['/srv'], env: ['LEVEL'] });
    expect(ruleOf(policy, base)).toBe('allowed');
    for (const name of [
      'PATH',
      'LD_PRELOAD',
      'BASH_ENV',
      'NODE_OPTIONS',
      'PYTHONPATH',
      'GIT_SSH',
      'WHATEVER',
      'level',
    ])
      expect(ruleOf(policy, { ...base, env: { [name]: 'x' } })).toBe('env');
    expect(ruleOf(policy, { ...base, env: { LEVEL: 'x' } })).toBe('allowed');
    for (const cwd of ['/tmp', '/srv/', '/srv/../tmp', '/srv/x', '~/srv'])
      expect(ruleOf(policy, { ...base, cwd })).toBe('cwd');
    expect(ruleOf(policy, { ...base, cwd: '/srv' })).toBe('allowed');
    expect(ruleOf(policy, { ...base, stdin: true })).toBe('stdin');
    expect(ruleOf(policy, { ...base, worktree })).toBe('project');
    expect(ruleOf(policy, { ...base, artifacts: ['*'] })).toBe('files');
    expect(ruleOf(policy, cmd('true'))).toBe('command');
    expect(ruleOf(policy, { ...base, command: { kind: 'script' } })).toBe('command');
  });

  test('allow lets a shell text start by its exact text or digest, in the default shell', () => {
    const policy = allow('cmd:make && make install', `cmd:sha256:${sha}`, `script:sha256:${'b'.repeat(64)}`);
    expect(ruleOf(policy, cmd('make && make install'))).toBe('allowed');
    expect(ruleOf(policy, cmd('make && make install '))).toBe('command');
    expect(ruleOf(policy, cmd('other', { text_sha256: sha }))).toBe('allowed');
    expect(ruleOf(policy, argv('make && make install'))).toBe('command');
    const script = (text_sha256: string | undefined, shell?: string): PolicyRequest => ({
      ...base,
      command: { kind: 'script', ...(shell && { shell }) },
      text_sha256,
    });
    expect(ruleOf(policy, script('b'.repeat(64)))).toBe('allowed');
    expect(ruleOf(policy, script(sha))).toBe('command');
    expect(ruleOf(policy, script(undefined))).toBe('command');
    expect(ruleOf(policy, script('b'.repeat(64), 'python3'))).toBe('shell');
    expect(
      ruleOf(policy, { ...base, command: { kind: 'cmd', cmd: 'make && make install', shell: '/tmp/sh' } }),
    ).toBe('shell');
  });

  test('our own check starts under every policy, and nothing that only looks like it', () => {
    const canary: PolicyRequest = { ...argv(...canaryArgv), ephemeral: true };
    const strict: MachinePolicy = { mode: 'read-only', require_label: true };
    expect(ruleOf(strict, canary)).toBe('allowed');
    for (const other of [
      { ...canary, ephemeral: false },
      { ...canary, command: { kind: 'argv' as const, argv: ['/bin/sh', '-c', 'exit 1'] } },
      { ...canary, command: { kind: 'argv' as const, argv: [...canaryArgv, 'x'] } },
      { ...canary, env: { ENV: 'x' } },
      { ...canary, cwd: '/tmp' },
      { ...canary, stdin: true },
      { ...canary, worktree },
      { ...canary, artifacts: ['**'] },
      { ...canary, queue: 'q' },
      { ...canary, after: ['x'] },
    ])
      expect(ruleOf(strict, other)).toBe('read-only');
  });

  test('no policy can name a variable that steers what runs', () => {
    const steering = [
      'PATH',
      'LD_PRELOAD',
      'LD_LIBRARY_PATH',
      'BASH_ENV',
      'ENV',
      'NODE_OPTIONS',
      'PYTHONPATH',
      'PYTHONSTARTUP',
    ];
    for (const name of [
      ...steering,
      'GIT_SSH_COMMAND',
      'GIT_CONFIG_COUNT',
      'HOME',
      'MAKEFLAGS',
      'PERL5OPT',
      'DYLD_INSERT_LIBRARIES',
      'IFS',
      'SSH_ASKPASS',
    ])
      expect(machinePolicy.safeParse({ mode: 'allow', env: [name] }).success, name).toBe(false);
    expect(machinePolicy.safeParse({ mode: 'allow', env: ['LEVEL', 'CUDA_VISIBLE_DEVICES'] }).success).toBe(
      true,
    );
  });
});

describe('narrower', () => {
  const patterns = ['ls ...', 'make test', 'make *', 'git log ...', 'cmd:ls'];
  const some = <T>(values: readonly T[]) => fc.subarray([...values]);
  const policy: fc.Arbitrary<MachinePolicy> = fc
    .record({
      mode: fc.constantFrom('full', 'read-only', 'allow'),
      allow: some(patterns),
      cwd: some(['/a', '/b']),
      env: some(['X', 'Y']),
      label: fc.boolean(),
    })
    .map(({ mode, allow, cwd, env, label }) =>
      machinePolicy.parse({
        mode,
        ...(mode === 'allow' && { allow, cwd, env }),
        ...(label && { require_label: true }),
      }),
    );
  const request: fc.Arbitrary<PolicyRequest> = fc.record({
    command: fc.oneof(
      fc
        .constantFrom(['ls'], ['ls', '-l'], ['make', 'test'], ['make', 'x'], ['git', 'log'], ['rm'])
        .map((words) => ({ kind: 'argv' as const, argv: [...words] })),
      fc.constantFrom('ls', 'rm').map((text) => ({ kind: 'cmd' as const, cmd: text })),
    ),
    env: fc.constantFrom<Record<string, string>>({}, { X: '1' }, { Z: '1' }),
    cwd: fc.constantFrom(undefined, '/a', '/c'),
    stdin: fc.boolean(),
    label: fc.constantFrom(undefined, 'l'),
  });

  test('lets nothing start that the other does not', () => {
    fc.assert(
      fc.property(policy, policy, request, (next, now, asked) => {
        if (isNarrower(next, now) && decide(next, asked).allowed)
          expect(decide(now, asked).allowed).toBe(true);
      }),
      { numRuns: 5000 },
    );
  });

  test('is an order', () => {
    fc.assert(
      fc.property(policy, policy, policy, (a, b, c) => {
        expect(isNarrower(a, a)).toBe(true);
        expect(isSamePolicy(a, a)).toBe(true);
        if (isNarrower(a, b) && isNarrower(b, c)) expect(isNarrower(a, c)).toBe(true);
        expect(isNarrower(a, { mode: 'full' })).toBe(true);
        expect(isNarrower({ mode: 'read-only' }, a)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});
