import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import {
  agentVerbs,
  type Challenge,
  challenge,
  execSpec,
  execState,
  type Hello,
  hello,
  logSelection,
  maxSpecBytes,
  proof,
  protocolVersion,
  refused,
  transcript,
  welcome,
} from '../src/schema/index.ts';
import {
  defaultWireLimits,
  errorKinds,
  frameKind,
  frameRules,
  maxRecordPayloadBytes,
  recordKind,
  streamId,
  syncItemKind,
  syncLimits,
} from '../src/wire/index.ts';
import { errorsPage } from './support/errors-page.ts';
import { Page } from './support/markdown.ts';

const docs = new URL('../../../docs/', import.meta.url);
const text = readFileSync(new URL('protocol.md', docs), 'utf8');
const page = new Page(text);

const column = (rows: string[][], at: number): string[] => rows.map((row) => row[at] ?? '');
const names = (list: string | undefined): string[] =>
  [...(list ?? '').matchAll(/`([a-z0-9_]+)`/g)].map((match) => match[1] ?? '');
const keysOf = (schema: z.ZodObject): string[] => Object.keys(schema.shape);
const sorted = (list: readonly string[]): string[] => [...list].sort();

describe('docs/protocol.md', () => {
  test('has a section with all four parts for each frame, and no other', () => {
    const sections = page.section('Frames').headings(3);
    expect(sorted(sections)).toEqual(sorted(Object.keys(frameKind).map((name) => name.toUpperCase())));
    for (const name of sections) {
      const section = page.section(name);
      for (const part of ['Direction', 'Layout', 'Allowed', 'Violation']) {
        expect(section.labelled(part), `${name}: ${part}`).toBeTruthy();
      }
    }
  });

  test('has the number, scope and payload sizes of each frame', () => {
    const rows = page.section('Frames').table('kind');
    const expected = frameRules.flatMap((rule, kind) => {
      if (!rule) return [];
      const [least, most] = [rule.minPayloadBytes, rule.maxPayloadBytes(defaultWireLimits)];
      return [
        [`${kind}`, rule.name.toUpperCase(), rule.scope, least === most ? `${least}` : `${least} to ${most}`],
      ];
    });
    expect(rows).toEqual(expected);
  });

  test('has each limit with its number, and no other', () => {
    const rows = page.section('Limits').table('limit');
    expect(rows.map(([name, number]) => [name, Number(number)])).toEqual(Object.entries(defaultWireLimits));
    const ours = new Set(Object.keys(defaultWireLimits));
    const mentioned = [...text.matchAll(/`((?:max|min|initial)[A-Z]\w+|\w+Ms|ackEveryBytes)`/g)].map(
      (match) => match[1] ?? '',
    );
    expect(mentioned.filter((name) => !ours.has(name))).toEqual([]);
  });

  test.each([
    ['hello', hello],
    ['challenge', challenge],
    ['proof', proof],
    ['welcome', welcome],
    ['refused', refused],
  ] as const)('has every field of %s, and no other', (name, schema) => {
    expect(column(page.section(name).table('field'), 0)).toEqual(keysOf(schema));
    expect(page.section(name).text).toContain(`\`"${name}"\``);
  });

  test('names the versions that are spoken', () => {
    expect(page.section('hello').text).toContain(
      `Now ${protocolVersion.oldest} and ${protocolVersion.current}`,
    );
    expect(page.headings(1)[0]).toContain(`version ${protocolVersion.current}`);
  });

  test('lists the transcript so that its bytes can be made from the list', () => {
    const agent: Hello = {
      type: 'hello',
      versions: { oldest: 1, current: 12 },
      machine: 'gpu',
      agent_key: 'k'.repeat(43),
      agent_nonce: 'n'.repeat(43),
      host_id: 'höst',
      boot_id: 'boot',
      instance_id: 'instance',
      agent_version: '0.1.0',
      capabilities: ['one', 'two'],
    };
    const controller: Challenge = {
      type: 'challenge',
      version: 3,
      controller_key: 'c'.repeat(43),
      controller_nonce: 'o'.repeat(43),
      capabilities: [],
    };
    const exporter = Uint8Array.of(1, 2, 3);
    const sources: Record<string, unknown> = {
      hello: agent,
      challenge: controller,
      role: 'agent',
      transport: 'wss',
      exporter,
    };
    const parts = page
      .section('Transcript')
      .code('transcript')
      .map((field) => {
        if (field.startsWith('"')) return Buffer.from(JSON.parse(field));
        const value = field
          .split('.')
          .reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], sources);
        return value instanceof Uint8Array
          ? Buffer.from(value)
          : Buffer.from(Array.isArray(value) ? value.join(',') : String(value));
      });
    const bytes = Buffer.concat(
      parts.flatMap((part) => {
        const length = Buffer.alloc(4);
        length.writeUInt32BE(part.byteLength);
        return [length, part];
      }),
    );
    expect(Buffer.compare(bytes, transcript('agent', agent, controller, 'wss', exporter))).toBe(0);
  });

  test('has each verb with its shape, params and reply, and no other', () => {
    const verbs = page.section('Verbs');
    expect(sorted(verbs.headings(3))).toEqual(sorted(Object.keys(agentVerbs).map((verb) => `\`${verb}\``)));
    for (const [verb, { shape, params, reply }] of Object.entries(agentVerbs)) {
      const section = page.section(`\`${verb}\``);
      expect(section.labelled('Shape'), verb).toBe(shape);
      expect(names(section.labelled('Params')), verb).toEqual(keysOf(params));
      if (shape === 'call' || shape === 'upload') {
        expect(names(section.labelled('Reply')), verb).toEqual('shape' in reply ? keysOf(reply) : []);
      }
    }
    const shapes = new Set(Object.values(agentVerbs).map(({ shape }) => shape));
    expect(sorted(column(verbs.table('shape'), 0))).toEqual(sorted([...shapes]));
  });

  test('has the fields of what verbs carry', () => {
    const verbs = page.section('Verbs');
    const states = new Map(verbs.table('ExecState').map(([name, fields]) => [name, fields]));
    const listed = (name: string): string[] => (states.get(name) ?? '').match(/\b[a-z]+(_[a-z]+)*\b/g) ?? [];
    for (const option of execState.options) {
      const [status = ''] = option.shape.status.values;
      const documented = [...listed('always'), ...listed(status)].filter(
        (word) => !['optional', 'nothing', 'else'].includes(word),
      );
      expect(sorted(documented), status).toEqual(sorted(keysOf(option)));
    }
    const maps = new Map(verbs.table('map').map(([name, fields]) => [name, fields ?? '']));
    const top = (name: string): string[] =>
      (maps.get(name) ?? '')
        .replace(/\(.*?\)(?=,)/s, '')
        .match(/\b[a-z]+(_[a-z]+)*\b/g)
        ?.filter((word) => word !== 'optional') ?? [];
    expect(sorted(top('ExecSpec'))).toEqual(sorted(keysOf(execSpec)));
    expect(sorted(top('LogSelection'))).toEqual(sorted(keysOf(logSelection)));
    expect(page.section('`exec.start`').text).toContain(`at most ${maxSpecBytes} bytes`);
  });

  test('has each record and stream with its number', () => {
    const records = page.section('Records');
    expect(records.table('kind').map(([kind, name]) => [name, Number(kind)])).toEqual(
      Object.entries(recordKind),
    );
    expect(records.table('stream').map(([id, name]) => [name, Number(id)])).toEqual(Object.entries(streamId));
    expect(records.text).toContain(`at most ${maxRecordPayloadBytes} bytes`);
  });

  test('has each item of a sync with its number, and their limits', () => {
    const items = page.section('Items of a sync');
    const rows = items.table('item').map(([name = '', kind]) => [name.replaceAll('`', ''), Number(kind)]);
    expect(Object.fromEntries(rows)).toEqual(syncItemKind);
    for (const limit of [
      syncLimits.maxBlockBytes,
      syncLimits.maxDataBytes,
      syncLimits.maxSmallBytes,
      syncLimits.maxEntriesAhead,
    ])
      expect(items.text).toContain(`${limit}`);
  });

  test('names only error codes that exist', () => {
    const columns = page
      .section('Limits')
      .table('limit')
      .map((row) => row[3] ?? '');
    const said = columns.flatMap((cell) => cell.match(/\b[a-z]+(_[a-z]+)+\b/g) ?? []);
    const refusals = [
      ...text.matchAll(
        /(?:reset with|refused with|session with|GOAWAY|RESET|`refused` with) `([a-z]+(?:_[a-z]+)+)`/g,
      ),
    ].map((match) => match[1] ?? '');
    const unknown = [...said, ...refusals].filter((code) => !Object.hasOwn(errorKinds, code));
    expect(unknown).toEqual([]);
    expect(said.length + refusals.length).toBeGreaterThan(15);
  });

  test('walks through what is hard', () => {
    expect(page.section('Walk-throughs').headings(3)).toEqual([
      'First connect',
      'Reconnect with a running job',
      'Log follow across a drop',
      'Cancel crossing exit',
      'Both sides end at once',
    ]);
  });
});

describe('docs/errors.md', () => {
  test('is what the registry says', async () => {
    await expect(errorsPage()).toMatchFileSnapshot(new URL('errors.md', docs).pathname);
  });

  test('codes are lower snake case, and close codes are ones that a WebSocket may send', () => {
    for (const [code, kind] of Object.entries(errorKinds)) {
      expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/);
      if ('close' in kind && kind.close !== undefined) {
        expect([1001, 1009, 1011].includes(kind.close) || (kind.close >= 4000 && kind.close < 5000)).toBe(
          true,
        );
      }
    }
  });
});
