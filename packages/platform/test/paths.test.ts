import { userInfo } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { agentBase, controllerPaths, maxSocketPathBytes, shortSocketFolder } from '../src/paths.ts';

describe('controllerPaths', () => {
  test('CODEX_REMOTE_HOME moves everything under one folder', () => {
    const paths = controllerPaths({ CODEX_REMOTE_HOME: '/x', HOME: '/home/u', XDG_CONFIG_HOME: '/c' }, 1000);
    expect(Object.values(paths).every((path) => path.startsWith('/x/'))).toBe(true);
  });

  test('without it the XDG base directories are used, and their defaults', () => {
    expect(controllerPaths({ HOME: '/home/u', XDG_RUNTIME_DIR: '/run/user/1' }, 1000)).toMatchObject({
      config: '/home/u/.config/codex-remote',
      state: '/home/u/.local/state/codex-remote',
      socket: '/run/user/1/codex-remote/api.sock',
    });
    expect(controllerPaths({ HOME: '/home/u', XDG_STATE_HOME: '/s' }, 1000).socket).toBe(
      '/s/codex-remote/run/api.sock',
    );
  });

  test.each([
    [{ CODEX_REMOTE_HOME: '/x/', HOME: '/h' }, '/x/config', '/x/run/api.sock'],
    [{ CODEX_REMOTE_HOME: '/', HOME: '/h' }, '/config', '/run/api.sock'],
    [{ CODEX_REMOTE_HOME: 'a/../b', HOME: '/h' }, 'b/config', 'b/run/api.sock'],
    [{ HOME: '/h/', XDG_RUNTIME_DIR: '/r//' }, '/h/.config/codex-remote', '/r/codex-remote/api.sock'],
    [
      { HOME: '/h', XDG_CONFIG_HOME: '' },
      '/h/.config/codex-remote',
      '/h/.local/state/codex-remote/run/api.sock',
    ],
  ])('%j', (env, config, socket) => {
    expect(controllerPaths(env, 1000)).toMatchObject({ config, socket });
  });

  test('without a home it is the one that the system knows', () => {
    expect(controllerPaths({ HOME: '' }, 1000).config).toBe(join(userInfo().homedir, '.config/codex-remote'));
  });

  test('a socket whose path the system would refuse moves to a short folder of this user', () => {
    const { socket } = controllerPaths({ CODEX_REMOTE_HOME: `/${'long/'.repeat(30)}` }, 1000);
    expect(socket).toMatch(/^\/tmp\/codex-remote-1000\/[0-9a-f]{16}\/api\.sock$/);
  });
});

describe('shortSocketFolder', () => {
  const home = '/home/someone/.local/share/codex-remote-agent';
  const long = `${home}/0123456789abcdef/0123456789abcdef/run`;

  test('stays under the base where it can, different for different homes', () => {
    const folder = shortSocketFolder(long, 1, home);
    expect(folder).toMatch(new RegExp(`^${home}/run/[0-9a-f]{8}$`));
    expect(`${folder}/t-0123456789abcdef.sock`.length).toBeLessThanOrEqual(maxSocketPathBytes);
    expect(shortSocketFolder(`${long}2`, 1, home)).not.toBe(folder);
  });

  test('leaves a short path as it is, and counts bytes, not characters', () => {
    expect(shortSocketFolder('/x/run', 1, home)).toBe('/x/run');
    expect(shortSocketFolder(`/${'ü'.repeat(40)}`, 1)).toMatch(/^\/tmp\//);
  });
});

test('agentBase: the variable, else XDG_DATA_HOME, else the home', () => {
  expect(agentBase({ CODEX_REMOTE_AGENT_HOME: '/a', HOME: '/h' })).toBe('/a');
  expect(agentBase({ XDG_DATA_HOME: '/d', HOME: '/h' })).toBe('/d/codex-remote-agent');
  expect(agentBase({ HOME: '/h' })).toBe('/h/.local/share/codex-remote-agent');
});
