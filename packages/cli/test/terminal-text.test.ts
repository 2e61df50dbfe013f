import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { StandInController } from '@codex-remote/client/testing';
import { controllerPaths } from '@codex-remote/platform';
import { bytePath } from '@codex-remote/platform/tree';
import {
  type ExecRecord,
  encodeRecord,
  RemoteError,
  streamId,
  syncBlockHeaderBytes,
  syncJsonItem,
} from '@codex-remote/protocol/wire';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { commands } from '../src/commands/all.ts';
import { installedCli, type Ran, runCli, runProgram } from './support/cli.ts';
import { actsOnTerminal, forged, hostileBytes, hostileText, poisoned } from './support/hostile-text.ts';

const cli = installedCli();
let controller: StandInController;
/** For what is made of a tree here. */
const repository = mkdtempSync(join(tmpdir(), 'cr-walk-'));
execFileSync('git', ['init', '-q', repository]);
afterAll(() => rmSync(repository, { recursive: true }));
beforeEach(async () => {
  controller = await new StandInController().listen();
  // Ours, so that nothing is replaced by anything.
  controller.build = 'source';
});
afterEach(() => controller[Symbol.asyncDispose]());

const tail = { from: 7, base64: Buffer.from(hostileBytes).toString('base64') };
const common = {
  exec_id: 'x',
  digest: 'd',
  mode: 'async',
  command: 'c',
  cwd: '/',
  label: 'l',
  session: 's',
  accepted_at: 't',
  started_at: 't',
  stdout_bytes: 3,
  stderr_bytes: 3,
  queue: 'q',
  worktree: { project: 'app', ref: 'r', commit: 'c', tree: 't', dirty: true, workspace: 'w', path: 'p' },
  warnings: ['w'],
};
const view = (state: object) => ({
  machine: 'box',
  machine_connected: false,
  as_of: 'then',
  ssh_ok: true,
  ssh_checked_at: 'then',
  state: { ...common, ...state },
  stdout_tail: tail,
  stderr_tail: tail,
});
const finished = view({
  status: 'finished',
  reason: 'failed_to_start',
  exit_code: 1,
  signal: 'S',
  ended_at: 't',
  duration_ms: 5,
  spawn_error: 'e',
  leftover_pids: [3],
  artifacts: {
    files: [{ path: 'p', size: 1, sha256: 's', name: 'n' }],
    count: 1,
    bytes: 1,
    skipped: [{ path: 'p', why: 'w' }],
    error: 'e',
  },
});
const lost = view({ status: 'lost', reason: 'r', ended_at: 't', safe_to_retry: true, why: 'w', detail: 'd' });
const queued = view({ status: 'queued', reason: 'dependency', position: 2, waiting_for: ['a', 'b'] });
const running = view({ status: 'running', pid: 5, last_output_at: 't' });

const queue = { queue: 'q', concurrency: 1, running: 1, queued: 1 };
const service = { kind: 'k', survives: { logout: 'l', reboot: 'r', crash: 'c' }, note: 'n' };
const machine = {
  machine: 'box',
  ssh: 's',
  connected: true,
  connection: 'local',
  connected_since: 't',
  last_seen_at: 't',
  duplicate_agent_at: 't',
  agent_version: 'v',
  agent_home: 'h',
  service,
  installed: true,
  running: 1,
  queued: 2,
  queues: [queue],
  added_at: 't',
};
const error = { code: 'ssh_auth_failed', message: 'm', hint: 'h', retryable: false, facts: { stage: 's' } };
const checked = {
  machine: 'box',
  ssh_ok: false,
  ssh_checked_at: 't',
  daemon_ok: false,
  latency_ms: 5,
  connection: 'c',
  agent_version: 'v',
  shell: 's',
  registered: true,
  checked_at: 't',
  error,
  warnings: ['w'],
};
const up = {
  machine: 'box',
  connection: 'c',
  agent_version: 'v',
  service,
  already_up: false,
  stages: [{ name: 'probe', status: 'done', duration_ms: 5, detail: 'd' }],
  duration_ms: 5,
  warnings: ['w'],
};
const status = {
  running: true,
  pid: 5,
  version: 'v',
  build: 'b',
  socket: 's',
  started_at: 't',
  machines_connected: 1,
};

const file = {
  path: 'p',
  type: 'symlink',
  size: 5,
  mode: 420,
  mtime: 't',
  target: 't',
  uid: 0,
  gid: 0,
  version: 'v',
  sha256: 's',
};
const entry = { name: 'n', type: 'symlink', size: 5, mode: 420, mtime: 't', target: 't' };

const policy = {
  policy: { mode: 'allow', allow: ['a'], cwd: ['c'], env: ['e'], require_label: true },
  agent_policy: { mode: 'allow', allow: ['a'] },
  enforced_by: 'controller',
};
const direct = {
  listen: 'l',
  listen_error: { code: 'listen_failed', message: 'm' },
  public_url: 'u',
  certificate_sha256: 's',
  certificate_expires_at: 't',
  next_certificate_sha256: 's',
  next_certificate_from: 't',
};
const project = {
  project: 'app',
  repo: { kind: 'url', url: 'u' },
  machines: ['m'],
  default_ref: 'r',
  added_at: 't',
};
const folder = { ...project, repo: { kind: 'path', path: 'p' } };
const token = {
  ...{
    id: 'i',
    status: 'active',
    scopes: ['s'],
    machines: ['m'],
    label: 'l',
    created_at: 't',
    created_by: 'c',
  },
  ...{ expires_at: 't', last_used_at: 't', last_used_from: 'f' },
};
const auditEntry = {
  ...{ v: 1, seq: 1, prev: 'p', at: 't', principal: 'p', source: 's', verb: 'v', machine: 'm', exec_id: 'x' },
  ...{ argv: ['a'], digest: 'd', cwd: 'c', result: 'r', reason: 'r', facts: { f: 'f' } },
};

const data = (stream: number): ExecRecord => ({ kind: 'data', stream, offset: 0, bytes: hostileBytes });
const output = [data(streamId.stdout), data(streamId.stderr)];
const event = (value: object): ExecRecord => ({ kind: 'event', value: poisoned(value) });
const ends = (last: object) => [...output, event({ finished: last })];
const begins = (first: object) => event({ started: { view: first, attached: true } });

/** What a target says of a sync, as one block that is not compressed. */
function syncSays(...items: readonly Uint8Array[]): ExecRecord {
  const payload = Buffer.concat(items);
  const header = Buffer.alloc(syncBlockHeaderBytes);
  header.writeUInt32BE(payload.byteLength, 1);
  header.writeUInt32BE(payload.byteLength, 5);
  return { kind: 'data', stream: streamId.content, offset: 0, bytes: Buffer.concat([header, payload]) };
}
const synced = [
  syncSays(
    syncJsonItem('report', {
      do: 'refuse',
      path: Buffer.from(hostileBytes).toString('latin1'),
      why: hostileText,
    }),
    syncJsonItem('report', { do: 'skip', path: bytePath(hostileText), why: hostileText }),
    syncJsonItem('result', { files: 1 }),
  ),
  event({ end: {} }),
];
const folderHere = join(import.meta.dirname, 'support');

/** A line for each command, or several, with what the controller answers: an object, or records. */
const walk: Readonly<Record<string, readonly [line: string, answer: object | readonly ExecRecord[]][]>> = {
  'machine add': [['machine add box', machine]],
  'machine list': [['machine list', { machines: [machine] }]],
  'machine show': [['machine show box', machine]],
  'machine set': [
    ['machine set box --queue q=1', { queues: [queue] }],
    ['machine set box --policy full', policy],
  ],
  'machine invite': [['machine invite box', { ...status, command: 'sh', machine: 'box', expires_at: 't' }]],
  'machine check': [['machine check box', checked]],
  'machine up': [
    [
      'machine up box',
      [
        event({ stage: { name: 'n', status: 'done', duration_ms: 5, detail: 'd' } }),
        event({ prompt: { id: 'p', text: 'password: ', secret: true } }),
        event({ up }),
      ],
    ],
    ['machine up box', [event({ error })]],
  ],
  'machine down': [
    ['machine down box', { machine: 'box', stopped: true, running: ['a'], queued: ['b'], purged: true }],
  ],
  'machine remove': [['machine remove box', { removed: true }]],
  'exec run': [
    ['exec run -m box --cmd x', [begins(running), ...ends(finished)]],
    ['exec run -m box --cmd x', [begins(queued), ...ends(lost)]],
    ['exec run -m box --cmd x', [begins(running), ...output, event({ error })]],
  ],
  'exec start': [
    ['exec start -m box --cmd x', { view: running, attached: true }],
    ['exec start -m box --cmd x', { view: queued, attached: false }],
  ],
  'exec result': [finished, lost, queued, running].map((each) => ['exec result x', each]),
  'exec logs': [
    ['exec logs x', [...output, event({ end: { complete: false, view: finished } })]],
    [
      'exec logs x --stream stdout --tail 5 --cursor v1.0.0.x',
      [data(1), event({ end: { complete: true, view: running } })],
    ],
  ],
  'exec watch': [
    ['exec watch x', [begins(running), ...ends(finished)]],
    ['exec watch x y', [begins(running), ...ends(lost)]],
  ],
  'exec wait': [
    ['exec wait x', { execs: [finished], done: true }],
    ['exec wait x y', { execs: [lost, running], done: false }],
  ],
  'exec cancel': [
    ['exec cancel x', { view: finished, already_finished: true, leftover_pids: [3] }],
    ['exec cancel x y --yes', { view: lost, already_finished: false, leftover_pids: [] }],
  ],
  'exec list': [['exec list', { execs: [finished, lost, queued, running], total: 4, more: true }]],
  'exec diff': [
    ['exec diff x', finished],
    ['exec diff x --stat', running],
  ],
  'exec apply': [
    [`exec apply x --dir ${repository}`, finished],
    ['exec apply x', running],
  ],
  'exec artifacts': [finished, lost, queued].map((each) => ['exec artifacts x', each]),
  'file stat': [['file stat -m box x', file]],
  'file list': [
    [
      'file list -m box x',
      [
        event({ entries: [entry, { ...entry, name: undefined, name_b64: '/w==' }] }),
        event({ end: { path: 'p', total: 3, more: true, next_cursor: 'c' } }),
      ],
    ],
  ],
  'file read': [
    ['file read -m box x', [event({ file }), data(streamId.content), event({ end: { complete: false } })]],
    ['file read -m box x', [event({ file }), event({ error })]],
  ],
  'file write': [
    [
      'file write -m box x --content y',
      [event({ written: { path: 'p', size: 1, sha256: 's', mode: 420, created: true } })],
    ],
    ['file write -m box x --content y', [event({ error })]],
  ],
  'file remove': [['file remove -m box x', { path: 'p', type: 'file', removed: 2 }]],
  'file mkdir': [['file mkdir -m box x', { path: 'p', mode: 420, created: true }]],
  'project add': [['project add app --repo https://example.org/app', project]],
  'project list': [['project list', { projects: [project, folder] }]],
  'project show': [
    ['project show app', project],
    ['project show app', folder],
  ],
  'project remove': [
    [
      'project remove app --purge',
      { removed: true, mirrors: [{ machine: 'box', removed: false, error: 'e' }] },
    ],
  ],
  'sync push': [
    [`sync push -m box --src ${folderHere} --dst x`, synced],
    [`sync push -m box --src ${folderHere} --dst x`, [event({ error })]],
  ],
  'sync pull': [[`sync pull -m box --src x --dst ${folderHere}`, [event({ error })]]],
  'token create': [
    [
      'token create --scope admin',
      { ...token, token: 't', url: 'u', certificates: ['c'], spki_sha256: ['p'] },
    ],
  ],
  'token list': [['token list', { tokens: [token] }]],
  'token revoke': [[`token revoke ${'a'.repeat(20)}`, token]],
  'audit list': [['audit list', { entries: [auditEntry], more: true }]],
  'audit verify': [
    ['audit verify', { ok: true, count: 1, files: 1, first_seq: 1, head: { seq: 1, hash: 'h' } }],
    ['audit verify', { ok: false, count: 1, file: 'f', line: 1, problem: 'p', detail: 'd' }],
  ],
  'controller rotate-certificate': [['controller rotate-certificate', direct]],
  'controller start': [['controller start', status]],
  'controller stop': [],
  'controller status': [['controller status', { ...status, ...direct }]],
  'controller logs': [['controller logs', {}]],
  version: [['version', {}]],
};
const lines = Object.values(walk).flat();

/** What every exec has changed in its worktree: asked for beside the answer to a command. */
const id = '1'.repeat(40);
const diff: readonly ExecRecord[] = [
  {
    kind: 'event',
    value: { diff: { commit: id, tree: id, result: id, running: true, skipped: hostileText } },
  },
  {
    kind: 'event',
    value: {
      files: [
        { path: hostileText, status: 'added', new_mode: '100644', new_id: id, added_lines: 1 },
        {
          path: `.codex/${hostileText.replaceAll('/', '')}`,
          status: 'added',
          new_mode: '100644',
          new_id: id,
        },
      ],
    },
  },
  data(streamId.content),
  event({ end: { next: 1, complete: true } }),
];

function answering(answer: object | readonly ExecRecord[]): void {
  const send = (records: readonly ExecRecord[], response: ServerResponse) => {
    response.writeHead(200, { connection: 'close' });
    for (const record of records) response.write(encodeRecord(record));
    response.end();
    return undefined;
  };
  const [head, files, patch, end] = diff;
  for (const [path, part] of [
    [/part=files/, files],
    [/part=patch/, patch],
  ] as const)
    controller.answers.push({
      path,
      answer: (_asked, response) =>
        send(
          [head, part, end].filter((record) => record !== undefined),
          response,
        ),
    });
  controller.answers.push({
    path: /./,
    answer: (_asked, response) => (Array.isArray(answer) ? send(answer, response) : poisoned(answer)),
  });
  // What the controller's own log holds is partly what machines said.
  const { log } = controllerPaths({ CODEX_REMOTE_HOME: controller.home });
  mkdirSync(dirname(log), { recursive: true });
  writeFileSync(
    log,
    `${JSON.stringify({ level: 30, msg: hostileText })}\n${hostileText.replace('\n', '')}\n`,
  );
}

const run = (line: string, flag: string): Promise<Ran> =>
  runCli(cli, [...line.split(' '), flag], { home: controller.home, input: '' });

/** At a terminal of its own: what is written there is stdout and stderr, as a person sees them. */
const atTerminal = (line: string): Promise<Pick<Ran, 'stdout'>> =>
  runProgram(
    'script',
    ['-qec', `'${process.execPath}' '${join(cli, 'dist/boot.cjs')}' ${line}`, '/dev/null'],
    {
      env: {
        ...{ PATH: process.env.PATH ?? '', HOME: controller.home, SHELL: '/bin/sh', TERM: 'xterm' },
        CODEX_REMOTE_HOME: controller.home,
      },
      input: '\n',
    },
  );

/** Lines in which remote text has made one of its own. Output of a job is as many lines as the job writes. */
const forgeries = (text: string): string[] =>
  text.split(/[\r\n]/).filter((line) => line.trimStart().startsWith(forged));

/** It serves until it is ended. */
const elsewhere = ['controller serve'];

test('every command is walked', () => {
  const walked = [...Object.keys(walk), ...elsewhere];
  expect(walked.toSorted()).toEqual(commands.map(({ name }) => name).toSorted());
});

describe('text that tries to act on a terminal, in every field of an answer', () => {
  test.each(lines)('%s for people: nothing acts, no line is forged [row 97]', async (line, answer) => {
    answering(answer);
    const ran = await run(line, '--human');
    const shown = ran.stdout + ran.stderr;
    expect(shown.length).toBeGreaterThan(0);
    expect(actsOnTerminal(shown)).toBeUndefined();
    expect(forgeries(shown)).toEqual([]);
  });

  test.each(lines)(
    '%s at a terminal, with its progress and questions: the same [row 97]',
    async (line, answer) => {
      answering(answer);
      const { stdout } = await atTerminal(line);
      expect(stdout.length).toBeGreaterThan(0);
      // The terminal writes CR LF.
      const shown = stdout.replaceAll('\r\n', '\n');
      expect(actsOnTerminal(shown)).toBeUndefined();
      expect(forgeries(shown)).toEqual([]);
    },
  );

  test.each(lines)('%s as JSON: escapes alone, and the value as it is [row 97]', async (line, answer) => {
    answering(answer);
    const ran = await run(line, '--json');
    expect(actsOnTerminal(ran.stdout + ran.stderr)).toBeUndefined();
    expect(ran.stderr.split('\n').length).toBeLessThanOrEqual(2);
    expect(ran.json.length).toBeGreaterThan(0);
    expect(ran.stdout.trimEnd().split('\n')).toHaveLength(ran.json.length);
    if (line.startsWith('machine show')) expect(ran.json[0]?.agent_home).toBe(hostileText);
  });
});

describe('an error with such text', () => {
  const codes = ['internal', 'conflict', 'host_key_unknown', 'bootstrap_failed'] as const;
  test.each(codes)('%s: with its hint and facts [row 97]', async (code) => {
    controller.answers.push({
      path: /./,
      answer: () =>
        Promise.reject(
          new RemoteError(code, hostileText, {
            hint: hostileText,
            machine: hostileText,
            exec_id: hostileText,
            facts: { remote_stderr: hostileText, stage: hostileText, fingerprint: hostileText },
          }),
        ),
    });
    for (const flag of ['--human', '--json', '--raw']) {
      const ran = await run('exec result x', flag);
      expect(ran.status).toBeGreaterThan(0);
      expect(actsOnTerminal(ran.stdout + ran.stderr)).toBeUndefined();
      expect(forgeries(ran.stdout + ran.stderr)).toEqual([]);
    }
  });
});
