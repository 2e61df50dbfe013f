import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LowdbRegistry } from '../../src/registry/lowdb-registry.ts';
import type { MachineRecord } from '../../src/registry/registry.ts';

const machine: MachineRecord = {
  name: 'box',
  ssh: 'someone@box.example:2222',
  added_at: '2026-01-01T00:00:00.000Z',
  ssh_memory: { transport: 'ssh2' },
};

let dir: string;
let path: string;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'cr-registry-'));
  path = join(dir, 'registry.json');
  await (await LowdbRegistry.open(path)).add(machine);
});
afterEach(() => rmSync(dir, { recursive: true }));

async function read(): Promise<readonly MachineRecord[] | RemoteError> {
  try {
    return (await LowdbRegistry.open(path)).list();
  } catch (error) {
    if (error instanceof RemoteError) return error;
    throw error;
  }
}

function expectTyped(error: unknown): void {
  expect(error).toMatchObject({
    code: 'state_unusable',
    message: expect.stringContaining(path),
    details: { hint: expect.any(String) },
  });
}

test('a registry with any byte changed gives the same machines, or state_unusable with the file and what to do [row 36]', async () => {
  const bytes = readFileSync(path);
  for (let at = 0; at < bytes.length; at++) {
    for (const bit of [0x01, 0x10]) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ bit;
      writeFileSync(path, changed);
      const answer = await read();
      if (answer instanceof RemoteError) expectTyped(answer);
      else expect([at, bit, answer]).toEqual([at, bit, [machine]]);
    }
  }
});

test('a registry cut anywhere, empty or foreign is state_unusable [row 35] [row 37]', async () => {
  const bytes = readFileSync(path);
  // The last newline is no part of it.
  for (let size = 0; size < bytes.length - 1; size++) {
    writeFileSync(path, bytes.subarray(0, size));
    expectTyped(await read());
  }
  writeFileSync(path, '{"name":"some-package","version":"1.0.0"}\n');
  expectTyped(await read());
});

test('a registry edited by hand is read once its sum is dropped, and has one again at the next write', async () => {
  const edited = readFileSync(path, 'utf8').replace('box.example', 'other.example');
  writeFileSync(path, edited);
  expectTyped(await read());
  writeFileSync(path, edited.replace(/,\s*"sum": "[0-9a-f]{8}"/, ''));
  const registry = await LowdbRegistry.open(path);
  expect(registry.get('box')?.ssh).toBe('someone@other.example:2222');
  await registry.update('box', (record) => {
    record.ssh_ok = true;
  });
  expect(JSON.parse(readFileSync(path, 'utf8')).sum).toMatch(/^[0-9a-f]{8}$/);
  expect(readdirSync(dir)).toEqual(['registry.json']);
});
