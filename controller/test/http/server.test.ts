import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger, RotatingFile, systemClock } from '@codex-remote/platform';
import type { ControllerStatus } from '@codex-remote/protocol/schema';
import { encodeRecord, RecordParser, streamId } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { arrivedLocally } from '../../src/access/principal.ts';
import type { Tokens } from '../../src/access/tokens.ts';
import type { Direct } from '../../src/direct/direct.ts';
import { Starts } from '../../src/execs/starts.ts';
import { Files } from '../../src/files/files.ts';
import { createApi } from '../../src/http/server.ts';
import type { Machines } from '../../src/machines/machines.ts';
import { Prompts } from '../../src/machines/prompts.ts';
import type { Git } from '../../src/projects/git.ts';
import type { Projects } from '../../src/projects/projects.ts';
import type { Sync } from '../../src/sync/sync.ts';
import { NotedAudit } from '../audit/noted-audit.ts';
import { execsWorld, running } from '../execs/machine-stand-in.ts';

const records = 'application/vnd.codex-remote.records';
let folder: string;
let world: ReturnType<typeof execsWorld>;
let app: ReturnType<typeof createApi>;
let socketPath: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cr-api-'));
  socketPath = join(folder, 'api.sock');
  world = execsWorld(['box']);
  const audit = new NotedAudit();
  const context = {
    execs: world.execs,
    files: new Files(world),
    sync: {} as Sync,
    projects: {} as Projects,
    git: {} as Git,
    machines: {} as Machines,
    prompts: new Prompts(systemClock),
    tokens: {} as Tokens,
    direct: {} as Direct,
    // Nobody is invited here.
    invitations: undefined as never,
    downloads: undefined as never,
    audit,
    starts: new Starts(world.execs, audit, { checkMachine: () => undefined }),
    clock: systemClock,
    status: () => ({ running: true }) as ControllerStatus,
    stop: () => undefined,
  };
  app = createApi(context, 'build', createLogger(new RotatingFile(join(folder, 'log'))));
  app.server.prependListener('connection', arrivedLocally);
  await app.listen({ path: socketPath });
});

afterEach(async () => {
  await app.close();
  world.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Answer {
  status: number;
  body: Buffer;
}

function ask(method: string, path: string, type?: string, body?: Uint8Array | string): Promise<Answer> {
  const headers = type === undefined ? {} : { 'content-type': type };
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method, path, headers }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts) }));
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

const codeOf = ({ body }: Answer): unknown => JSON.parse(body.toString()).error.code;

describe('what is not a request of the API is refused with a code of ours', () => {
  test.each([
    ['GET', '/v1/nope', undefined, undefined, 404, 'unknown_verb'],
    ['PUT', '/v1/machines', undefined, undefined, 404, 'unknown_verb'],
    ['GET', '/v1/execs/%zz', undefined, undefined, 400, 'usage'],
    ['GET', `/v1/execs/${'a'.repeat(200)}`, undefined, undefined, 400, 'usage'],
    ['POST', '/v1/machines', 'application/json', '{bad', 400, 'usage'],
    ['POST', '/v1/machines', 'text/plain', 'x', 400, 'usage'],
    ['POST', '/v1/machines', 'application/json', `"${'x'.repeat(2 * 1024 * 1024)}"`, 413, 'too_large'],
    ['POST', '/v1/execs?machine=box&exec_id=e', undefined, undefined, 400, 'usage'],
    ['POST', '/v1/execs?machine=box&exec_id=E!', records, 'x', 400, 'usage'],
    ['GET', '/v1/execs-wait', undefined, undefined, 400, 'usage'],
    ['GET', '/v1/execs?status=nope', undefined, undefined, 400, 'usage'],
  ])('%s %s', async (method, path, type, body, status, code) => {
    const answer = await ask(method, path, type, body);
    expect(answer.status).toBe(status);
    expect(codeOf(answer)).toBe(code);
  });

  test('a selection of logs that is not JSON', async () => {
    const { body } = await ask('GET', '/v1/execs/e/logs?select=%7Bbad');
    const [last] = [...new RecordParser().push(body)];
    expect(last).toMatchObject({ kind: 'event', value: { error: { code: 'usage' } } });
  });
});

test('a wait for a thousand execs fits a request', async () => {
  const ids = Array.from({ length: 1000 }, (_, at) => `id=exec-with-a-long-name-of-its-own-${at}`);
  world.connect('box', (_channel, _verb, params) => ({
    state: running((params as { exec_id: string }).exec_id),
  }));
  const answer = await ask('GET', `/v1/execs-wait?max_wait_ms=1&${ids.join('&')}`);
  expect(answer.status).toBe(200);
});

test('a caller that goes away inside its request starts nothing and is no defect', async () => {
  const reset = Promise.withResolvers<unknown>();
  const asked = Promise.withResolvers<void>();
  world.connect('box', async (channel) => {
    asked.resolve();
    await (async () => {
      for await (const _ of channel);
    })().then(() => reset.resolve('whole'), reset.resolve);
  });
  const spec = encodeRecord({
    kind: 'data',
    stream: streamId.spec,
    offset: 0,
    bytes: Buffer.from(
      JSON.stringify({
        exec_id: 'e',
        command: { kind: 'script' },
        env: {},
        stdin: false,
        merge: false,
        mode: 'async',
      }),
    ),
  });
  const script = encodeRecord({ kind: 'data', stream: streamId.script, offset: 0, bytes: Buffer.from('ec') });
  const headers = { 'content-type': records, 'transfer-encoding': 'chunked' };
  const caller = request({
    socketPath,
    method: 'POST',
    path: '/v1/execs?machine=box&exec_id=e&follow=1',
    headers,
  });
  caller.on('error', () => undefined);
  caller.write(Buffer.concat([spec, script]));
  await asked.promise;
  caller.destroy();
  expect(await reset.promise).toMatchObject({ code: 'cancelled' });
});
