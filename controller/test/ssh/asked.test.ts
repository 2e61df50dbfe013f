import { SshLab } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Question } from '../../src/ssh/index.ts';
import { connectTo, environmentOf, output } from './connect.ts';

/** A login that needs a person: real keys, real passwords, a real sshd; only the person is played. */
describe('a login that asks', () => {
  let lab: SshLab;
  const password = 'correct horse';

  beforeAll(async () => {
    lab = await SshLab.open({
      server: {
        config: [
          'UsePAM yes',
          'PasswordAuthentication yes',
          'KbdInteractiveAuthentication yes',
          'MaxAuthTries 20',
        ],
      },
    });
    await lab.user.setPassword(password);
  });
  afterAll(() => lab?.close());

  /** Answers in turn; undefined from then on. */
  function person(...answers: (string | undefined)[]) {
    const questions: Question[] = [];
    const ask = async (question: Question) => {
      questions.push(question);
      return answers.shift();
    };
    return { questions, ask };
  }

  async function whoami(block: string, ask?: (question: Question) => Promise<string | undefined>) {
    const environment = environmentOf(await lab.writeConfig(block));
    const transport = await connectTo('box', environment, 'ssh2', ask === undefined ? {} : { ask });
    try {
      return (await output(transport, 'id -un')).stdout.trim().split('\n').at(-1);
    } finally {
      await transport.close();
    }
  }

  async function lockedBlock(passphrase: string): Promise<{ block: string; path: string }> {
    const key = await lab.makeKey(`locked-${passphrase.length}`, { passphrase });
    await lab.authorize(lab.user, [lab.key, key]);
    return { block: lab.hostBlock('box').replace(lab.key.path, key.path), path: key.path };
  }
  const withoutKeys = () => lab.hostBlock('box').replace(lab.key.path, '/nonexistent/key');

  it('a locked key is unlocked by its passphrase, mistyped once', async () => {
    const { block, path } = await lockedBlock('open sesame');
    const { ask, questions } = person('open barley', 'open sesame');
    expect(await whoami(block, ask)).toContain(lab.user.name);
    const question = { text: `Enter passphrase for key '${path}': `, secret: true };
    expect(questions).toEqual([question, question]);
  });

  it('nobody is asked for the passphrase of a key that the server does not take', async () => {
    const key = await lab.makeKey('stranger', { passphrase: 'never asked' });
    const { ask, questions } = person('never asked', password);
    const block = `${lab.hostBlock('box').replace(lab.key.path, key.path)}\n  KbdInteractiveAuthentication no`;
    expect(await whoami(block, ask)).toContain(lab.user.name);
    expect(questions.map(({ text }) => text)).toEqual([
      `${lab.user.name}@127.0.0.1's password: `,
      `${lab.user.name}@127.0.0.1's password: `,
    ]);
  });

  it('a question of the server is put with the name of who asks', async () => {
    const { ask, questions } = person('wrong', password);
    expect(await whoami(withoutKeys(), ask)).toContain(lab.user.name);
    expect(questions).toHaveLength(2);
    expect(questions[0]).toMatchObject({
      text: expect.stringContaining(`(${lab.user.name}@127.0.0.1) Password: `),
      secret: true,
    });
  });

  it('a second factor is asked for after the key was taken', async () => {
    const server = await lab.startServer({
      config: [
        'UsePAM yes',
        'KbdInteractiveAuthentication yes',
        'AuthenticationMethods publickey,keyboard-interactive',
      ],
    });
    await lab.writeKnownHosts([lab.hostLine(lab.server), lab.hostLine(server)]);
    await lab.authorize(lab.user, [lab.key]);
    const agent = await lab.startAgent([lab.key]);
    const block = lab.hostBlock('box').replace(`Port ${lab.server.port}`, `Port ${server.port}`);
    const byFile = person(password);
    expect(await whoami(block, byFile.ask)).toContain(lab.user.name);
    expect(byFile.questions).toHaveLength(1);
    const byAgent = person(password);
    const withAgent = `${block}\n  IdentityAgent ${agent.socket}`.replace(/\n *IdentityFile .*/, '');
    expect(await whoami(withAgent, byAgent.ask)).toContain(lab.user.name);
    expect(byAgent.questions).toHaveLength(1);
  });

  it.each([
    ['who gives no answer', [undefined]],
    ['who is wrong again and again', ['1', '2', '3']],
  ])('a person %s is refused and not asked for ever', { timeout: 60_000 }, async (_who, answers) => {
    const { ask, questions } = person(...answers);
    const block = `${withoutKeys()}\n  PasswordAuthentication no`;
    await expect(whoami(block, ask)).rejects.toMatchObject({ code: 'ssh_auth_failed' });
    expect(questions).toHaveLength(answers.length);
  });

  it('where nobody can be asked the answer is the hint of before', async () => {
    const { block, path } = await lockedBlock('not here');
    await expect(whoami(block)).rejects.toMatchObject({
      code: 'ssh_auth_failed',
      details: { hint: expect.stringContaining(`ssh-add ${path}`) },
    });
  });

  it('the time in which a person thinks is not the time to connect', async () => {
    const environment = environmentOf(await lab.writeConfig(withoutKeys()));
    let thought: () => void = () => undefined;
    const thinking = new Promise<void>((resolve) => {
      thought = resolve;
    });
    const ask = async (): Promise<string> => {
      setTimeout(thought, 1_500);
      await thinking;
      return password;
    };
    const transport = await connectTo('box', environment, 'ssh2', { ask, timeoutMs: 1_200 });
    await transport.close();
  });
});
