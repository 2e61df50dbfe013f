import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TcpProxy } from './tcp-proxy.ts';
import { waitFor } from './wait-for.ts';

let server: Server;
let proxy: TcpProxy;
const sockets: Socket[] = [];
const arrived: Buffer[] = [];

/** Answers each byte with its successor. */
beforeEach(async () => {
  server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => {
      arrived.push(bytes);
      socket.write(bytes.map((byte) => byte + 1));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  proxy = await TcpProxy.open((server.address() as AddressInfo).port);
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  arrived.length = 0;
  await proxy.close();
  server.close();
});

async function dial(): Promise<{ socket: Socket; got: () => string; over: Promise<unknown> }> {
  const socket = connect(proxy.port, '127.0.0.1');
  sockets.push(socket);
  const chunks: Buffer[] = [];
  socket.on('data', (bytes) => chunks.push(bytes));
  const over = new Promise((resolve) => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
    socket.once('close', () => resolve('closed'));
  });
  await once(socket, 'connect');
  return { socket, got: () => Buffer.concat(chunks).toString(), over };
}

test('what goes in comes out, and an end is passed on', async () => {
  const { socket, got, over } = await dial();
  socket.write('abc');
  await waitFor('the answer', () => got() === 'bcd');
  socket.end();
  expect(await over).toBe('closed');
});

test.each(['rst', 'fin'] as const)('a cut by %s comes after exactly the bytes it was told', async (how) => {
  const { socket, got, over } = await dial();
  const cut = proxy.cutAfter('down', 4, how);
  socket.write('abcdefgh');
  await cut;
  expect(await over).toBe(how === 'rst' ? 'ECONNRESET' : 'closed');
  expect(got()).toBe('bcde');
  const next = await dial();
  next.socket.write('abcdefgh');
  await waitFor('the answer', () => next.got() === 'bcdefghi');
});

test('silent one way, the other way goes on, and neither side is told', async () => {
  const { socket, got } = await dial();
  proxy.blackhole('down');
  socket.write('abc');
  await waitFor('the way up', () => Buffer.concat(arrived).toString() === 'abc');
  for (const end of sockets) if (end !== socket) end.end();
  proxy.heal();
  const next = await dial();
  next.socket.write('x');
  await waitFor('a new connection', () => next.got() === 'y');
  expect([got(), socket.destroyed]).toEqual(['', false]);
});

test('split, late and turned bytes', async () => {
  const { socket, got } = await dial();
  proxy.shape('up', { bytes: 1, delayMs: 1 });
  proxy.corruptAfter('down', 2);
  socket.write('aaaa');
  await waitFor('the answer', () => got().length >= 4);
  expect(arrived.map((bytes) => bytes.byteLength)).toEqual([1, 1, 1, 1]);
  expect(got().slice(0, 2) + got().slice(-1)).toBe('bbb');
  expect(got()).not.toBe('bbbb');
});
