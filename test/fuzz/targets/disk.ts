import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentConfig, execSpec, isEnded } from '@codex-remote/protocol/schema';
import { encodeRecord } from '@codex-remote/protocol/wire';
import { encodeLine, foldJournal, glanceAtJournal } from '../../../agent/src/folder/journal.ts';
import { parseRecord, recordBytes } from '../../../agent/src/folder/record.ts';
import { parseReleased } from '../../../agent/src/folder/released.ts';
import { type JournalLine, parseStored } from '../../../agent/src/folder/stored.ts';
import { agentHome, readAgentConfig } from '../../../agent/src/home.ts';
import { encodeSample, TimeSamples } from '../../../agent/src/logs/time-samples.ts';
import { LowdbRegistry } from '../../../controller/src/registry/lowdb-registry.ts';
import { bytesOf, check, joined, refusedOr, type Target, textOf } from '../target.ts';

const folder = mkdtempSync(join(tmpdir(), 'crf-'));
/** For a runner whose process does not end with its targets, or is ended. */
export const removeFolder = (): void => rmSync(folder, { recursive: true, force: true });
process.once('exit', removeFolder);

const record = [
  'v1 job 4711 (sh) S 1 4711 4711 0 -1 4194560 100 0 0 0 0 0 0 0 20 0 1 0 12345 1000 100 end',
  'v1 exit 3 end',
  'v1 check 252 end',
  'v1 eof stdout end',
  'v1 torn stderr end',
].join('\n');
const filled = (text: string): string => text.padEnd(recordBytes, '\n');

/** The exit record: a code that a process can have, or none; never one whose check says otherwise. */
export const exitTarget: Target = {
  name: 'exit',
  weight: 8,
  tokens: [
    'v1 exit 0 end\n',
    'v1 check 255 end\n',
    'v1 aborted end\n',
    'v1 nocwd end\n',
    'v1 eof __proto__ end\n',
    '\n',
  ],
  seeds: () =>
    [filled(`${record}\n`), filled(''), `${record}\n`, filled('v1 exit 0 end\nv1 check 255 end\n')].map(
      bytesOf,
    ),
  run(bytes) {
    const read = parseRecord(Buffer.from(bytes).toString('latin1'));
    const { exitCode } = read;
    check(exitCode === undefined || (exitCode >= 0 && exitCode <= 255), `exit code ${exitCode}`);
    check(!(read.job && read.aborted), 'it has run, and was aborted');
    return read.job !== undefined || exitCode !== undefined || read.untouched;
  },
};

const state = {
  ...{ exec_id: 'x', digest: 'd', mode: 'async' as const, command: 'c', stdout_bytes: 1, stderr_bytes: 0 },
  accepted_at: '2026-01-01T00:00:00.000Z',
};
const journal: JournalLine[] = [
  {
    spec: {
      ...{ version: 1, exec_id: 'x', digest: 'd', mark: '0123456789abcdef', host_id: 'h', boot_id: 'b' },
      ...{
        command: 'c',
        cwd: '/',
        env_names: ['A'],
        merge: false,
        mode: 'async',
        accepted_ms: 5,
        warnings: [],
      },
    },
  },
  { identity: { shim: { pid: 5, start: 6 }, started_ms: 7, started_uptime_ms: 8 } },
  { cancel: { cause: 'cancel', signal: 'TERM', at_ms: 5, at_uptime_ms: 6, grace_ms: 7 } },
  {
    end: {
      ...{ ...state, status: 'finished', reason: 'exited', exit_code: 3 },
      ...{ ended_at: '2026-01-01T00:00:01.000Z', duration_ms: 5 },
    },
  },
  { acknowledged: true, acknowledged_ms: 9 },
];
const written = journal.map(encodeLine).join('');

/** The journal: what is changed is damage and never another end. */
export const journalTarget: Target = {
  name: 'journal',
  weight: 8,
  tokens: ['\n', '"sum":"', '"__proto__":{"polluted":1}', '"exit_code":0', '{"end":{', '"acknowledged":true'],
  seeds: () => [written, ...journal.map(encodeLine), written.slice(0, -30)].map(bytesOf),
  run(bytes) {
    const text = textOf(bytes);
    const folded = foldJournal(text);
    glanceAtJournal(text);
    const { end } = folded;
    check(end === undefined || isEnded(end), 'an end is none');
    // Lines without a sum are of old agents; one with a sum is what was written or nothing.
    if (end?.status === 'finished' && text.includes('"sum":"') && end.exit_code !== 3)
      check(
        /"end":(?!.*"sum":"[0-9a-f]{8}"\}$).*$/m.test(text),
        `an end of ${end.exit_code} was made of one of 3`,
      );
    return (
      folded.spec !== undefined ||
      end !== undefined ||
      folded.identity !== undefined ||
      folded.cancel !== undefined ||
      folded.acknowledged
    );
  },
};

/** Which bytes of a log are gone: offsets that are exact. */
export const releasedTarget: Target = {
  name: 'released',
  weight: 3,
  tokens: ['v1 stdout ', ' end\n', '9007199254740993'],
  seeds: () => [bytesOf('v1 stdout 4096 end\n\n\n\nv1 stderr 5 end\n')],
  run(bytes) {
    const { stdout, stderr } = parseReleased(Buffer.from(bytes).toString('latin1'));
    check(Number.isSafeInteger(stdout) && Number.isSafeInteger(stderr), 'an offset is not exact');
    return true;
  },
};

const sample = (offset: number, epochMs: number) => encodeSample({ stream: 1, offset, epochMs });

/** Samples of time: offsets grow, and each can go out as a record. */
export const timesTarget: Target = {
  name: 'times',
  weight: 2,
  seeds: () => [
    joined(sample(0, 1_700_000_000_000), sample(10, 1_700_000_000_500), sample(2 ** 40, 1_700_000_001_000)),
  ],
  run(bytes) {
    writeFileSync(join(folder, 'times'), bytes);
    const samples = new TimeSamples(folder, 1);
    let last = -1;
    let count = 0;
    try {
      for (let one = samples.next(); one; one = samples.next(), count++) {
        check(one.offset > last, 'offsets do not grow');
        last = one.offset;
        const { stream, offset, epochMs } = one;
        const record = Buffer.from(encodeRecord({ kind: 'time', stream, offset, epochMs }));
        check(record.readBigUInt64BE(16) === BigInt(Math.trunc(epochMs)), 'a time is another in its record');
        new Date(epochMs).toISOString();
      }
      samples.seekBehind(({ offset }) => offset < 10);
    } finally {
      samples.close();
    }
    return count > 0;
  },
};

const home = agentHome(join(folder, 'h', 'c'));
const config = {
  ...{ version: 1, machine: 'box', controller_id: 'c', controller_key: 'k', host_id: 'h' },
  endpoints: [
    { kind: 'tunnel', dir: '/r' },
    { kind: 'wss', url: 'wss://a:1', certificates: ['c'], spki_sha256: ['s'] },
  ],
};
const words = [
  '"__proto__":{"polluted":1},',
  '"constructor":{',
  '../../x',
  'null',
  '1e999',
  '[]',
  '{}',
  '\\ud800',
  '"',
];

/** The agent's configuration: its shape, or `state_unusable`. */
export const configTarget: Target = {
  name: 'config',
  weight: 2,
  tokens: words,
  seeds: () => [bytesOf(JSON.stringify(config))],
  run(bytes) {
    mkdirOnce(home.path);
    writeFileSync(home.config, bytes);
    const read = refusedOr(() => readAgentConfig(home));
    return read !== undefined && agentConfig.safeParse(read).success;
  },
};

const registry = {
  version: 1,
  machines: [
    {
      ...{
        name: 'box',
        ssh: 'me@box',
        added_at: '2026-01-01T00:00:00.000Z',
        ssh_memory: { transport: 'ssh2' },
      },
      installation: { agent_key: 'k', host_id: 'h', connection: 'direct' },
      invites: [{ id: 'i', sha256: '0'.repeat(64), expires_at: '2026-01-01T00:00:00.000Z' }],
    },
  ],
};

/** The registry: machines, or `state_unusable`; never an empty list in place of one that cannot be read. */
export const registryTarget: Target = {
  name: 'registry',
  weight: 1,
  tokens: [...words, '"name":"../x"', '"machines":[]'],
  seeds: () => [bytesOf(JSON.stringify(registry))],
  async run(bytes) {
    const path = join(folder, 'registry.json');
    writeFileSync(path, bytes);
    const opened = await LowdbRegistry.open(path).catch((error: unknown) =>
      refusedOr<LowdbRegistry>(() => {
        throw error;
      }),
    );
    if (opened === undefined) return false;
    for (const { name } of opened.list())
      check(/^[a-z0-9][a-z0-9._-]{0,62}$/.test(name), `a machine is called ${JSON.stringify(name)}`);
    return true;
  },
};

/** What is to run, as it lies in a queue: read in the same way as it came. */
export const specTarget: Target = {
  name: 'spec',
  weight: 4,
  tokens: [...words, '"env":{"A=B":"c"}', '"exec_id":"../x"', '\\u0000'],
  seeds: () => [
    bytesOf(
      JSON.stringify({
        ...{ exec_id: 'x', command: { kind: 'argv', argv: ['a', '$(id)'] }, env: { A: 'b' }, stdin: false },
        ...{ merge: false, mode: 'run', cwd: '/', label: 'l', queue: 'q', after: ['y'] },
      }),
    ),
  ],
  run(bytes) {
    const spec = parseStored(execSpec, textOf(bytes));
    if (spec === undefined) return false;
    check(/^[a-z0-9][a-z0-9._-]{0,63}$/.test(spec.exec_id), 'an id is a path');
    for (const [name, value] of Object.entries(spec.env))
      check(/^[A-Za-z_]\w*$/.test(name) && !value.includes('\0'), 'a variable cannot be set');
    return JSON.stringify(parseStored(execSpec, JSON.stringify(spec))) === JSON.stringify(spec);
  },
};

let made = false;
function mkdirOnce(path: string): void {
  if (!made) mkdirSync(path, { recursive: true });
  made = true;
}
