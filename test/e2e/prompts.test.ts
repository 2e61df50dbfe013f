import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Cli, cliProgram, SshLab, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

describe('machine up at a terminal, with a key that is locked by a passphrase', () => {
  const passphrase = 'open sesame';
  let lab: SshLab;
  let cli: Cli;

  beforeAll(async () => {
    lab = await SshLab.open();
    const key = await lab.makeKey('locked', { passphrase });
    await lab.authorize(lab.user, [key]);
    const block = lab.hostBlock('box').replace(lab.key.path, key.path);
    cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: await lab.writeConfig(block) });
  });
  afterAll(async () => {
    await cli?.close();
    await lab?.close();
  });

  test('elsewhere nobody is asked: ssh_auth_failed with the ssh-add line', async () => {
    expect(await cli.json(['machine', 'up', 'box'], 1)).toMatchObject({
      error: { code: 'ssh_auth_failed', hint: expect.stringContaining('ssh-add') },
    });
  });

  test('Ctrl-C at the question gives the login up', async () => {
    const terminal = new Terminal(cli, ['machine', 'up', 'box']);
    await terminal.shows('Enter passphrase for key');
    terminal.type('\u0003');
    expect(await terminal.end()).toBe(1);
    expect(terminal.text).toContain('ssh-add');
  });

  test('the passphrase is asked for, not shown, and brings the machine up', async () => {
    const terminal = new Terminal(cli, ['machine', 'up', 'box']);
    await terminal.shows('Enter passphrase for key');
    terminal.type(`${passphrase}\r`);
    expect(await terminal.end()).toBe(0);
    expect(terminal.text).toContain('box is up');
    expect(terminal.text).not.toContain(passphrase);
    expect(await cli.json(['machine', 'show', 'box'])).toMatchObject({ connected: true });
  });
});

/** The program at a terminal of its own, as util-linux's script(1) makes one; what is written to its stdin is typed. */
class Terminal {
  text = '';
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #closed: Promise<unknown[]>;

  constructor(cli: Cli, args: readonly string[]) {
    const { CODEX_REMOTE_OUTPUT: _json, ...env } = cli.env;
    this.#child = spawn('script', ['-qec', [cliProgram, ...args].join(' '), '/dev/null'], {
      env: { ...env, SHELL: '/bin/sh', TERM: 'xterm' },
    });
    this.#child.stdout.on('data', (bytes: Buffer) => {
      this.text += bytes.toString();
    });
    this.#closed = once(this.#child, 'close');
  }

  async shows(words: string): Promise<void> {
    await waitFor(`the terminal to show ${words}`, () => this.text.includes(words), 30_000);
  }

  type(keys: string): void {
    this.#child.stdin.write(keys);
  }

  /** Exit status. */
  async end(): Promise<unknown> {
    return (await this.#closed)[0];
  }
}
