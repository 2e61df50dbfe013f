import { expect, test } from 'vitest';
import { formatListen, parseListen, parsePublicUrl } from '../src/wire/index.ts';

test.each([
  ['0.0.0.0:7443', { host: '0.0.0.0', port: 7443 }],
  ['[::]:7443', { host: '::', port: 7443 }],
  ['[fe80::1%eth0]:7443', { host: 'fe80::1%eth0', port: 7443 }],
  ['controller.example:0', { host: 'controller.example', port: 0 }],
])('%s is an address to listen on', (text, address) => {
  expect(parseListen(text)).toEqual(address);
  expect(formatListen(address)).toBe(text);
});

test.each([
  '',
  '7443',
  ':7443',
  'host',
  'host:',
  'host:65536',
  'host:-1',
  '::1:7443',
  '[::1]',
  'a b:1',
  'http://a:1',
  'a:1\n',
])('%j is none, and it is said what is', (text) => {
  expect(() => parseListen(text)).toThrow(
    expect.objectContaining({
      code: 'usage',
      details: expect.objectContaining({ hint: expect.any(String) }),
    }),
  );
});

test.each([
  ['https://Controller.Example:7443', 'https://controller.example:7443'],
  ['https://controller.example/', 'https://controller.example'],
  ['https://192.0.2.1:443', 'https://192.0.2.1'],
  ['https://[2001:db8::1]:7443', 'https://[2001:db8::1]:7443'],
])('%s is a public URL', (text, url) => {
  expect(parsePublicUrl(text)).toBe(url);
  expect(parsePublicUrl(url)).toBe(url);
});

test.each([
  'controller.example:7443',
  'http://controller.example',
  'wss://controller.example',
  'https://user@controller.example',
  'https://controller.example/path',
  'https://controller.example/?a',
  'https://controller.example/#a',
  'https://controller.example:0',
  'https://',
])('%j is none', (text) => {
  expect(() => parsePublicUrl(text)).toThrow(expect.objectContaining({ code: 'usage' }));
});
