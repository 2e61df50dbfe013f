import { parseScope } from '../../../controller/src/access/scopes.ts';
import { judge, newSecret, type TokenRecord } from '../../../controller/src/access/token-record.ts';
import { genesis, nextLine, parseLine } from '../../../controller/src/audit/chain.ts';
import { bytesOf, check, refusedOr, sameBytes, type Target, textOf } from '../target.ts';

const now = Date.parse('2026-01-01T00:00:00.000Z');
const made = newSecret(now);
const record: TokenRecord = {
  ...{ id: made.id, sha256: made.sha256, scopes: ['admin'], created_by: 'local' },
  created_at: '2026-01-01T00:00:00.000Z',
};

/** A token lets nobody in but by exactly its own text. */
export const tokenTarget: Target = {
  name: 'token',
  weight: 4,
  tokens: ['.', '=', ' ', '\u0000', '\n', 'Bearer ', made.id],
  seeds: () => [bytesOf(made.token), bytesOf(`${'a'.repeat(20)}.${'A'.repeat(43)}`)],
  run(bytes) {
    const text = textOf(bytes);
    const { refusal } = judge(text, (id) => (id === record.id ? record : undefined), now);
    check((refusal === undefined) === (text === made.token), `a token was judged ${refusal ?? 'right'}`);
    return true;
  },
};

/** A scope is one of the grammar. */
export const scopeTarget: Target = {
  name: 'scope',
  weight: 2,
  tokens: [':', '*', 'admin', '__proto__', 'constructor', 'exec:run:', ',', ' '],
  seeds: () => ['admin', 'exec:read', 'exec:run:box', 'machines:read'].map(bytesOf),
  run(bytes) {
    return refusedOr(() => parseScope(textOf(bytes))) !== undefined;
  },
};

const lines = [
  nextLine(genesis, now, {
    principal: 'local',
    source: 'socket',
    verb: 'exec.start',
    machine: 'box',
    exec_id: 'x',
    argv: ['a', '\u001b[31m'],
    digest: 'd',
    cwd: '/',
    result: 'done',
  }),
  nextLine({ seq: 41, hash: 'a'.repeat(64) }, now, {
    principal: 'token:t',
    source: '192.0.2.1',
    verb: 'token.use',
    result: 'refused',
    reason: 'r',
  }),
].map(({ text }) => bytesOf(text.slice(0, -1)));

/** A line of the audit log is one of ours, byte for byte, or none. */
export const auditTarget: Target = {
  name: 'audit',
  weight: 6,
  tokens: ['"v":1', '"seq":', '"__proto__":1,', '\\u0061', ' ', '\n', '"prev":"'],
  seeds: () => lines,
  run(bytes) {
    const line = parseLine(bytes);
    if (line === undefined) return false;
    check(sameBytes(bytesOf(JSON.stringify(JSON.parse(textOf(bytes)))), bytes), 'a line has two spellings');
    check(Number.isSafeInteger(line.seq), 'a number is not exact');
    return true;
  },
};
