import type { ExecSpec, MachinePolicy } from '@codex-remote/protocol/schema';
import { encodeRecord, RemoteError, streamId } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RequestBody } from '../../src/execs/request-body.ts';
import { Starts } from '../../src/execs/starts.ts';
import { policyView, tellAgent } from '../../src/machines/policies.ts';
import { NotedAudit } from '../audit/noted-audit.ts';
import { execsWorld, running, unknownExec } from './machine-stand-in.ts';

const never = new AbortController().signal;
const caller = { principal: 'token:t1', source: '192.0.2.7' };
const readOnly: MachinePolicy = { mode: 'read-only' };

let world: ReturnType<typeof execsWorld>;
let audit: NotedAudit;
let asked: string[];
let known: string[];
/** Of projects; all are for every machine, but for `elsewhere`. */
const checkMachine = (project: string, machine: string): void => {
  if (project === 'elsewhere')
    throw new RemoteError('unknown_project', `unknown project ${project} on ${machine}`, { sent: 'no' });
};
beforeEach(() => {
  world = execsWorld(['box']);
  audit = new NotedAudit();
  asked = [];
  known = [];
});
afterEach(() => world.close());

/** An agent that was never told of policies, and starts whatever it is sent. */
function connectOld(fails?: RemoteError): void {
  world.connect(
    'box',
    (_channel, verb, params) => {
      asked.push(verb);
      const { exec_id } = params as { exec_id: string };
      if (verb === 'exec.get') return known.includes(exec_id) ? { state: running(exec_id) } : unknownExec();
      if (fails) throw fails;
      return { state: running(exec_id), attached: known.includes(exec_id) };
    },
    ['queues'],
  );
}

function body(more: Partial<ExecSpec> = {}, rest: readonly Uint8Array[] = []): RequestBody {
  const spec = {
    exec_id: 'e',
    command: { kind: 'argv', argv: ['make'] },
    env: {},
    stdin: false,
    merge: false,
    mode: 'async',
    ...more,
  };
  const record = (stream: number, bytes: Uint8Array) =>
    encodeRecord({ kind: 'data', stream, offset: 0, bytes });
  return new RequestBody(
    (async function* () {
      yield record(streamId.spec, Buffer.from(JSON.stringify(spec)));
      for (const bytes of rest) yield record(streamId.script, bytes);
    })(),
  );
}

const start = (what = body()) =>
  new Starts(world.execs, audit, { checkMachine }).start(
    { machine: 'box', execId: 'e', body: what, connectWaitMs: 0 },
    caller,
    never,
  );
const results = () =>
  audit.entries.map(({ result, reason }) => (reason ? `${result} ${reason.split(':')[0]}` : result));

describe('a start', () => {
  test('is recorded before it is sent, and what became of it after', async () => {
    connectOld();
    await start(
      body({ env: { TOKEN: 'canary-1' }, command: { kind: 'argv', argv: ['curl', 'x=canary-1'] } }),
    );
    expect(audit.entries).toMatchObject([
      {
        ...caller,
        verb: 'exec.start',
        machine: 'box',
        exec_id: 'e',
        argv: ['curl', 'x=***'],
        result: 'requested',
      },
      { ...caller, result: 'accepted', digest: 'd' },
    ]);
    expect(JSON.stringify(audit.entries)).not.toContain('canary-1');
  });

  test('that the machine refuses is recorded as refused', async () => {
    connectOld(new RemoteError('disk_low', 'full'));
    await expect(start()).rejects.toMatchObject({ code: 'disk_low', details: { sent: 'yes' } });
    expect(results()).toEqual(['requested', 'refused disk_low']);
  });

  test('in a project that is not for the machine is not sent, and one that was accepted before is attached', async () => {
    connectOld();
    const commit = 'a'.repeat(40);
    const worktree = { project: 'elsewhere', ref: 'main', commit, tree: commit, dirty: false };
    await expect(start(body({ worktree }))).rejects.toMatchObject({
      code: 'unknown_project',
      details: { sent: 'no' },
    });
    expect([asked, results()]).toEqual([['exec.get'], ['refused unknown_project']]);
    known = ['e'];
    expect(await start(body({ worktree }))).toMatchObject({ attached: true });
  });

  test('that cannot be recorded is not sent', async () => {
    connectOld();
    audit.write = () => {
      throw new RemoteError('disk_low', 'full');
    };
    await expect(start()).rejects.toMatchObject({ code: 'disk_low', details: { sent: 'no' } });
    expect(asked).toEqual([]);
  });

  test('whose record does not reach the disk is not answered as accepted', async () => {
    connectOld();
    audit.write = () => ({ durable: Promise.reject(new RemoteError('state_unusable', 'EIO')) });
    await expect(start()).rejects.toMatchObject({
      code: 'state_unusable',
      details: { sent: 'yes', exec_id: 'e', machine: 'box' },
    });
  });

  test.each([
    [
      'no JSON',
      encodeRecord({ kind: 'data', stream: streamId.spec, offset: 0, bytes: Buffer.from('{') }),
      'protocol_error',
    ],
    ['another id', undefined, 'protocol_error'],
    ['no spec', new Uint8Array(0), 'protocol_error'],
  ])('with %s is refused here', async (_what, bytes, code) => {
    connectOld();
    const what = bytes
      ? new RequestBody(
          (async function* () {
            yield bytes;
          })(),
        )
      : body({ exec_id: 'f' });
    await expect(start(what)).rejects.toMatchObject({ code, details: { sent: 'no' } });
    expect(asked).toEqual([]);
  });
});

describe('the policy of a machine whose agent knows none', () => {
  beforeEach(() => {
    connectOld();
    const machine = world.execs.machine('box');
    machine.policy = readOnly;
  });

  test('is enforced by the controller alone, and that is what is said', async () => {
    await expect(start()).rejects.toMatchObject({
      code: 'policy_refused',
      details: { sent: 'no', machine: 'box', facts: { rule: 'read-only', refused_by: 'controller' } },
    });
    expect(asked).toEqual(['exec.get']);
    expect(results()).toEqual(['refused policy_refused']);
    expect(audit.entries[0]).toMatchObject({ ...caller, argv: ['make'] });
    expect(await tellAgent(world.links.of('box'), readOnly, never)).toBeUndefined();
    expect(policyView(readOnly, undefined)).toEqual({ policy: readOnly, enforced_by: 'controller' });
  });

  test('lets whoever sends an accepted start again have it', async () => {
    known.push('e');
    expect(await start()).toMatchObject({ attached: true });
    expect(new Set(asked)).toEqual(new Set(['exec.get', 'exec.start']));
    expect(results()).toEqual(['requested', 'attached']);
  });

  test('compares a script with its digest, and lets none of another size or text pass', async () => {
    const { hash } = await import('node:crypto');
    const text = Buffer.from('echo fine');
    const machine = world.execs.machine('box');
    machine.policy = { mode: 'allow', allow: [`script:sha256:${hash('sha256', text, 'hex')}`] };
    const script = (rest: readonly Uint8Array[]) => body({ command: { kind: 'script' } }, rest);
    await expect(start(script([Buffer.from('echo evil')]))).rejects.toMatchObject({ code: 'policy_refused' });
    await expect(start(script([text, Buffer.from(' ')]))).rejects.toMatchObject({ code: 'policy_refused' });
    const large = Array.from({ length: 40 }, () => Buffer.alloc(60_000, 'x'));
    await expect(start(script(large))).rejects.toMatchObject({ code: 'policy_refused' });
    expect(await start(script([text]))).toMatchObject({ attached: false });
  });
});
