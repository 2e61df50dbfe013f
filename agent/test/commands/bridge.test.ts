import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runBridge } from '../../src/commands/bridge.ts';
import { type AgentHome, agentHome } from '../../src/home.ts';
import { waitFor } from '../support/wait-for.ts';

let dir: string;
let home: AgentHome;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'crb-'));
  home = agentHome(dir);
  const config = {
    version: 1,
    machine: 'box',
    controller_id: 'c',
    controller_key: 'k',
    host_id: 'h',
    endpoints: [{ kind: 'tunnel', dir }],
  };
  await writeFile(home.config, JSON.stringify(config));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const sockets = async () => (await readdir(dir)).filter((name) => name.startsWith('t-'));
const socket = () => waitFor('the socket', async () => (await sockets())[0]);

test('the SSH connection ends before an agent has dialled: the bridge ends, and its socket is gone', async () => {
  const [input, output] = [new PassThrough(), new PassThrough()];
  const bridge = runBridge(home, input, output);
  await socket();
  input.end();
  await bridge;
  expect(await sockets()).toEqual([]);
});

test('what came before an agent dialled reaches it, and its answer goes back', async () => {
  const [input, output] = [new PassThrough(), new PassThrough()];
  const bridge = runBridge(home, input, output);
  input.write('early ');
  const agent = connect(join(dir, await socket()));
  input.write('late');
  let heard = '';
  agent.on('data', (bytes) => {
    heard += bytes;
  });
  await waitFor('the bytes', () => heard === 'early late');
  agent.write('answer');
  expect(String((await once(output, 'data'))[0])).toBe('answer');
  agent.destroy();
  await bridge;
});
