import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cli } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

type Entry = Record<string, unknown> & { seq: number; facts?: Record<string, unknown> };

describe('the audit log of a user', () => {
  let cli: Cli;
  const me = `uid:${process.getuid?.()}`;
  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
  });
  afterAll(() => cli?.close());

  const list = async (...flags: string[]): Promise<Entry[]> =>
    (await cli.json(['audit', 'list', '--limit', '1000', ...flags])).entries as Entry[];
  const of = async (id: string): Promise<Entry[]> =>
    (await list()).filter(({ exec_id }) => exec_id === id).reverse();
  const file = () => join(cli.home, 'state/audit/00000001.jsonl');

  test('says who started what, where, and what became of it', async () => {
    const argv = ['sh', '-c', 'exit 3', 'é "quoted"\n'];
    await cli.run([
      'exec',
      'run',
      '-m',
      'local',
      '--id',
      'one',
      '--cwd',
      '/tmp',
      '--label',
      'night',
      '--',
      ...argv,
    ]);
    await cli.json([
      'exec',
      'start',
      '-m',
      'local',
      '--id',
      'one',
      '--cwd',
      '/tmp',
      '--label',
      'night',
      '--',
      ...argv,
    ]);
    await cli.json(['exec', 'start', '-m', 'local', '--id', 'one', '--', 'true'], 1);
    const common = { verb: 'exec.start', machine: 'local', principal: me, source: 'unix' };
    expect(await of('one')).toMatchObject([
      { ...common, result: 'requested', argv, cwd: '/tmp', facts: { kind: 'argv', label: 'night' } },
      { ...common, result: 'accepted', digest: expect.any(String) },
      { ...common, result: 'requested', argv },
      { ...common, result: 'attached' },
      { ...common, result: 'requested', argv: ['true'] },
      { ...common, result: 'refused', reason: expect.stringMatching(/^conflict: /) },
    ]);
  });

  test('has what was refused before anything was sent', async () => {
    await cli.json(['exec', 'start', '-m', 'nowhere', '--id', 'two', '--', 'true'], 1);
    expect(await of('two')).toMatchObject([
      { machine: 'nowhere', result: 'refused', reason: expect.stringMatching(/^unknown_machine: /) },
    ]);
  });

  test('has cancels, also those of what has ended', async () => {
    await cli.json(['exec', 'start', '-m', 'local', '--id', 'three', '--', 'sleep', '60']);
    await cli.json(['exec', 'cancel', '--id', 'three']);
    await cli.json(['exec', 'cancel', '--id', 'three']);
    const cancels = (await of('three')).filter(({ verb }) => verb === 'exec.cancel');
    expect(cancels.map(({ result }) => result)).toEqual(['requested', 'done', 'requested', 'unchanged']);
    expect(cancels[0]).toMatchObject({ principal: me, facts: { signal: 'TERM' } });
  });

  test('has machines: added, brought up, set, taken down, removed', async () => {
    await cli.json(['machine', 'add', 'box', '--ssh', 'nobody@192.0.2.1']);
    await cli.json(['machine', 'add', 'box', '--ssh', 'nobody@192.0.2.1'], 1);
    await cli.json(['machine', 'remove', 'box']);
    await cli.json(['machine', 'set', 'local', '--queue', 'gpu=2']);
    const told = (await list('--verb', 'machine')).reverse();
    expect(told.map(({ verb, machine, result }) => `${verb} ${machine} ${result}`)).toEqual([
      ...['machine.up local requested', 'machine.up local done'],
      ...['machine.add box requested', 'machine.add box done'],
      ...['machine.add box requested', 'machine.add box failed'],
      ...['machine.remove box requested', 'machine.remove box done'],
      ...['machine.set local requested', 'machine.set local done'],
    ]);
    expect(told[8]?.facts).toEqual({ 'queue.gpu': 2 });
  });

  test('has no value of --env, in whatever it stands, and nothing of scripts and stdin [row 102]', async () => {
    const secret = 'canary-7f3a91';
    const run = (id: string, flags: string[], input?: string) =>
      cli.run(
        ['exec', 'run', '-m', 'local', '--id', id, '--env', `TOKEN=${secret}`, ...flags],
        input === undefined ? {} : { input },
      );
    await run('env1', ['--', 'echo', `bearer ${secret}`]);
    await run('env2', ['--cmd', `echo ${secret}`, '--label', secret]);
    await run('env3', ['--script', '-'], `echo script-canary-1; echo ${secret}`);
    await run('env4', ['--stdin', '-', '--', 'cat'], 'stdin-canary-2');
    await run('env5', ['--cwd', `/nowhere/${secret}`, '--', 'true']);
    const text = readFileSync(file(), 'utf8');
    for (const canary of [secret, 'script-canary-1', 'stdin-canary-2']) expect(text).not.toContain(canary);
    expect((await of('env1'))[0]).toMatchObject({ argv: ['echo', 'bearer ***'], facts: { env: 'TOKEN' } });
    expect((await of('env2'))[0]).toMatchObject({ argv: ['echo ***'], facts: { kind: 'cmd', label: '***' } });
    expect((await of('env3'))[0]).toMatchObject({ facts: { kind: 'script' } });
    expect((await of('env4'))[0]).toMatchObject({ facts: { stdin: true } });
  });

  test('nothing in it acts on a terminal [row 97]', async () => {
    const hostile = '\u001b]52;c;aGk=\u0007\u009b31m\u202e';
    await cli.run(['exec', 'run', '-m', 'local', '--id', 'four', '--label', hostile, '--', 'echo', hostile]);
    const { stdout } = await cli.run(['audit', 'list', '--human', '--limit', '4']);
    for (const character of ['\u001b', '\u009b', '\u202e', '\u0007'])
      expect(stdout.toString()).not.toContain(character);
    expect((await cli.run(['audit', 'list', '--limit', '4'])).stdout.toString()).not.toContain('\u001b');
  });

  test('is linked, over a controller that stops and one that is killed too, and private', async () => {
    await cli.json(['controller', 'stop']);
    await cli.json(['controller', 'start']);
    process.kill((await cli.controllerPid()) as number, 'SIGKILL');
    await cli.json(['machine', 'show', 'local']);
    const verdict = await cli.json(['audit', 'verify']);
    const entries = await list();
    expect(verdict).toMatchObject({ ok: true, count: entries.length, files: 1, first_seq: 1 });
    expect(entries.filter(({ verb }) => verb === 'controller.start')).toHaveLength(3);
    expect(entries.filter(({ verb }) => verb === 'controller.stop')).toHaveLength(1);
    for (const name of readdirSync(join(cli.home, 'state/audit')))
      expect(statSync(join(cli.home, 'state/audit', name)).mode & 0o777).toBe(0o600);
  });

  test('a line that somebody changes is named, and so is an end that is cut off', async () => {
    const whole = readFileSync(file());
    writeFileSync(file(), whole.toString().replace('"exec_id":"three"', '"exec_id":"eight"'));
    const changed = await cli.json(['audit', 'verify'], 1);
    expect(changed).toMatchObject({
      ok: false,
      error: { code: 'audit_damaged', file: '00000001.jsonl', problem: 'bad_link', line: expect.any(Number) },
    });
    writeFileSync(file(), whole.subarray(0, whole.lastIndexOf(0x0a, whole.byteLength - 2) + 1));
    expect(await cli.json(['audit', 'verify'], 1)).toMatchObject({ error: { problem: 'end_gone' } });
    // Also for the next controller.
    process.kill((await cli.controllerPid()) as number, 'SIGKILL');
    await cli.json(['controller', 'start']);
    expect(await cli.json(['audit', 'verify'], 1)).toMatchObject({ error: { code: 'audit_damaged' } });
    expect((await list('--verb', 'audit.damage'))[0]).toMatchObject({ result: 'failed' });
  });
});
