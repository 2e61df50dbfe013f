import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { controllerPaths, loadOrCreateIdentity, makePrivateDir, systemClock } from '@codex-remote/platform';
import { agentVerbs } from '@codex-remote/protocol/schema';
import { call, encodeRecord, type Session, streamId } from '@codex-remote/protocol/wire';
import { Cli, waitFor } from '@codex-remote/test/lab';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Gateway } from '../../controller/src/gateway/gateway.ts';
import { listenPrivately } from '../../controller/src/sockets.ts';

type Answer = Record<string, unknown>;

describe('the policy of a machine', () => {
  let cli: Cli;
  let home: string;
  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
    home = String((await cli.json(['machine', 'show', 'local'])).agent_home);
  });
  afterAll(() => cli?.close());
  beforeEach(async () => {
    await cli.json(['machine', 'set', 'local', '--policy', 'full', '--no-require-label']);
    await cli.json(['machine', 'up', 'local']);
  });

  const truth = (id: string) => join(cli.home, `${id}.ran`);
  const ran = (id: string) => existsSync(truth(id));
  const start = (id: string, words: readonly string[], status = 0): Promise<Answer> =>
    cli.json(['exec', 'start', '-m', 'local', '--id', id, ...words], status);
  const touch = (id: string) => ['--', 'touch', truth(id)];
  const set = (...flags: string[]) => cli.json(['machine', 'set', 'local', ...flags]);
  const refusal = (rule: string) => ({
    ok: false,
    error: {
      code: 'policy_refused',
      retryable: false,
      sent: 'no',
      machine: 'local',
      rule,
      refused_by: 'controller',
    },
    next_command: 'codex-remote machine show -m local',
  });
  const onDisk = () => JSON.parse(readFileSync(join(home, 'policy.json'), 'utf8')) as unknown;

  test('read-only: nothing new starts; reads, checks and cancels go on', async () => {
    await start('ro-before', ['--cmd', 'echo out; exec sleep 600']);
    expect(await set('--policy', 'read-only')).toMatchObject({
      policy: { mode: 'read-only' },
      enforced_by: 'agent',
      next_action: 'done',
    });
    expect(onDisk()).toEqual({ mode: 'read-only' });
    expect(await start('ro', touch('ro'), 1)).toMatchObject(refusal('read-only'));
    const run = await cli.lines(['exec', 'run', '-m', 'local', '--id', 'ro-run', ...touch('ro-run')], 255);
    expect(run.at(-1)).toMatchObject({ type: 'error', error: { code: 'policy_refused' } });
    expect(await cli.json(['exec', 'logs', '--id', 'ro-before', '--tail', '1'])).toMatchObject({
      line: 'out',
    });
    expect(await cli.json(['machine', 'check', 'local'])).toMatchObject({
      daemon_ok: true,
      next_action: 'done',
    });
    expect(await cli.json(['exec', 'cancel', '--id', 'ro-before'])).toMatchObject({
      ok: true,
      already_finished: false,
    });
    expect(await cli.json(['machine', 'show', 'local'])).toMatchObject({
      policy: { mode: 'read-only' },
      policy_enforced_by: 'agent',
    });
    expect([ran('ro'), ran('ro-run')]).toEqual([false, false]);
    const { entries } = await cli.json(['audit', 'list', '--verb', 'exec.start', '--limit', '2']);
    expect(entries).toMatchObject([
      { exec_id: 'ro-run', result: 'refused', reason: expect.stringMatching(/^policy_refused: /) },
      { exec_id: 'ro', result: 'refused', argv: ['touch', truth('ro')] },
    ]);
  });

  test('allow: what a pattern matches, and nothing that makes it something else', async () => {
    const script = `echo ran >${truth('al-script')}`;
    const { hash } = await import('node:crypto');
    await set(
      ...[
        '--policy',
        'allow',
        '--allow',
        `touch ${cli.home}/*`,
        '--allow',
        'cmd:exit 3',
        '--allow-cwd',
        cli.home,
      ],
      ...['--allow', `script:sha256:${hash('sha256', script, 'hex')}`, '--allow-env', 'LEVEL'],
    );
    await start('al-1', ['--env', 'LEVEL=5', '--cwd', cli.home, ...touch('al-1')]);
    await cli.json(['exec', 'wait', '--id', 'al-1']);
    expect(ran('al-1')).toBe(true);
    await cli.json(['exec', 'run', '-m', 'local', '--brief', '--cmd', 'exit 3'], 3);
    await cli.run(['exec', 'run', '-m', 'local', '--id', 'al-script', '--script', '-'], { input: script });
    expect(ran('al-script')).toBe(true);
    const refused: [string, string[]][] = [
      ['command', ['--', 'touch', '-r', '/etc/passwd', truth('al-no')]],
      ['command', ['--', '/usr/bin/touch', truth('al-no')]],
      ['command', ['--cmd', `touch ${truth('al-no')}`]],
      ['env', ['--env', 'PATH=/tmp', ...touch('al-no')]],
      ['env', ['--env', 'LD_PRELOAD=/tmp/x.so', ...touch('al-no')]],
      ['cwd', ['--cwd', '/tmp', ...touch('al-no')]],
      ['shell', ['--shell', '/bin/sh', '--cmd', 'exit 3']],
    ];
    for (const [rule, words] of refused) expect(await start('al-no', words, 1)).toMatchObject(refusal(rule));
    const piped = await cli.run(
      ['exec', 'start', '-m', 'local', '--id', 'al-no', '--stdin', '-', ...touch('al-no')],
      {
        input: 'x',
      },
    );
    expect(JSON.parse(piped.stdout.toString())).toMatchObject(refusal('stdin'));
    const changed = await cli.run(['exec', 'start', '-m', 'local', '--id', 'al-no', '--script', '-'], {
      input: `${script} `,
    });
    expect(JSON.parse(changed.stdout.toString())).toMatchObject(refusal('command'));
    expect(ran('al-no')).toBe(false);
  });

  test('require-label: every exec says what it is for', async () => {
    await set('--require-label');
    expect(await start('label-no', touch('label-no'), 1)).toMatchObject(refusal('label'));
    await start('label-yes', ['--label', 'nightly', ...touch('label-yes')]);
    await cli.json(['exec', 'wait', '--id', 'label-yes']);
    expect(ran('label-yes')).toBe(true);
  });

  test('what was accepted before attaches, and starts when its turn comes', async () => {
    await set('--queue', 'narrow=1');
    await start('q-first', [
      '--queue',
      'narrow',
      '--cmd',
      `while [ ! -e ${truth('q-go')} ]; do sleep 0.02; done`,
    ]);
    await start('q-second', ['--queue', 'narrow', ...touch('q-second')]);
    await set('--policy', 'read-only');
    expect(await start('q-second', ['--queue', 'narrow', ...touch('q-second')])).toMatchObject({
      attached: true,
    });
    // Another request under that id starts nothing either.
    expect(await start('q-second', ['--', 'touch', truth('q-other')], 1)).toMatchObject({
      error: { code: 'conflict' },
    });
    await cli.json(['exec', 'cancel', '--id', 'q-first']);
    await cli.json(['exec', 'wait', '--id', 'q-second']);
    expect(ran('q-second')).toBe(true);
  });

  test('a wider one is taken by the agent from machine up only, and the answer says so', async () => {
    await set('--policy', 'allow', '--allow', 'true');
    expect(await set('--policy', 'full')).toMatchObject({
      policy: { mode: 'full' },
      enforced_by: 'agent',
      agent_policy: { mode: 'allow', allow: ['true'] },
      next_command: 'codex-remote machine up -m local',
    });
    expect(await start('wide', touch('wide'), 1)).toMatchObject({
      error: { code: 'policy_refused', rule: 'command', refused_by: 'agent' },
    });
    await cli.json(['machine', 'up', 'local']);
    expect(onDisk()).toEqual({ mode: 'full' });
    await start('wide', touch('wide'));
    await cli.json(['exec', 'wait', '--id', 'wide']);
    expect(ran('wide')).toBe(true);
    expect(await cli.json(['machine', 'show', 'local'])).not.toHaveProperty('agent_policy');
  });

  test('a machine that was away hears of it when it is back', async () => {
    await cli.json(['machine', 'down', 'local']);
    expect(await set('--policy', 'read-only')).toMatchObject({
      enforced_by: 'controller',
      next_command: 'codex-remote machine up -m local',
    });
    await cli.json(['machine', 'up', 'local']);
    expect(onDisk()).toEqual({ mode: 'read-only' });
  });

  test.each([
    [['--policy', 'allow', '--allow', './run'], 'absolute path'],
    [['--policy', 'allow', '--allow', 'ma*'], 'exact'],
    [['--policy', 'allow', '--allow-env', 'LD_PRELOAD'], 'variable'],
    [['--policy', 'full', '--allow', 'true'], 'policy allow'],
    [['--policy', 'allow', '--allow-cwd', 'src'], 'absolute'],
  ])('%j cannot be meant, and changes nothing', async (flags, word) => {
    const answer = await cli.json(['machine', 'set', 'local', ...flags], 2);
    expect(answer).toMatchObject({ error: { code: 'usage', message: expect.stringContaining(word) } });
    expect((await cli.json(['machine', 'show', 'local'])).policy).toEqual({ mode: 'full' });
  });

  test('who has the key of the controller and ignores the policy is refused by the agent', async () => {
    await set('--policy', 'allow', '--allow', 'true');
    await cli.json(['controller', 'stop']);
    const paths = controllerPaths(cli.env);
    makePrivateDir(paths.runtime);
    const { machines } = JSON.parse(readFileSync(join(paths.config, 'registry.json'), 'utf8')) as {
      machines: { installation: { agent_key: string } }[];
    };
    const connected = Promise.withResolvers<Session>();
    const gateway = new Gateway({
      identity: loadOrCreateIdentity(join(paths.config, 'controller.pem')),
      clock: systemClock,
      log: pino({ level: 'silent' }),
      keyOf: () => machines[0]?.installation.agent_key,
      admit: () => undefined,
      connected: (session) => connected.resolve(session),
    });
    const listener = await listenPrivately(paths.agentSocket, (socket) =>
      gateway.accept(socket, { via: 'local', machine: 'local' }),
    );
    try {
      const session = await connected.promise;
      const startRaw = (id: string, argv: string[]) => {
        const spec = {
          exec_id: id,
          command: { kind: 'argv', argv },
          env: {},
          stdin: false,
          merge: false,
          mode: 'async',
        };
        const bytes = Buffer.from(JSON.stringify(spec));
        async function* body() {
          yield encodeRecord({ kind: 'data', stream: streamId.spec, offset: 0, bytes });
        }
        return call(session, 'exec.start', { exec_id: id }, { body: body() });
      };
      await expect(startRaw('raw', ['touch', truth('raw')])).rejects.toMatchObject({
        code: 'policy_refused',
        details: { facts: { rule: 'command', refused_by: 'agent' } },
      });
      for (const policy of [{ mode: 'full' }, { mode: 'allow', allow: ['true', 'touch ...'] }]) {
        const reply = agentVerbs['policy.set'].reply.parse(await call(session, 'policy.set', { policy }));
        expect(reply).toEqual({ policy: { mode: 'allow', allow: ['true'] }, applied: false });
      }
      await expect(startRaw('raw', ['touch', truth('raw')])).rejects.toMatchObject({
        code: 'policy_refused',
      });
      await startRaw('raw-true', ['true']);
      expect(ran('raw')).toBe(false);
    } finally {
      gateway.close();
      await listener.close();
    }
    await cli.json(['controller', 'start']);
    await waitFor(
      'the machine',
      async () => (await cli.json(['machine', 'show', 'local'])).connected === true,
    );
  });
});
