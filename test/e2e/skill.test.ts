import { execFileSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Cli, SshLab } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const skillPath = join(import.meta.dirname, '../../skills/codex-remote-orchestrator/SKILL.md');

/** Splits a line as a shell would where it has only plain words and single quotes. */
function words(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map((match) => match[1] ?? match[2] ?? '');
}

describe('the skill', () => {
  let lab: SshLab;
  let cli: Cli;
  let text: string;

  beforeAll(async () => {
    text = await readFile(skillPath, 'utf8');
    lab = await SshLab.open();
    cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: await lab.writeConfig(lab.hostBlock('gpu-box')) });
    // Who reads it stands in a repository.
    await writeFile(join(cli.home, '.gitignore'), '/*\n!/code\n');
    await writeFile(join(cli.home, 'code'), 'code\n');
    const identity = ['-c', 'user.name=A', '-c', 'user.email=a@example.org'];
    for (const args of [
      ['init', '-q'],
      ['add', 'code'],
      [...identity, 'commit', '-qm', 'first'],
    ])
      execFileSync('git', ['-C', cli.home, ...args], { env: { ...cli.env, GIT_CONFIG_NOSYSTEM: '1' } });
  });
  afterAll(async () => {
    await cli?.close();
    await lab?.close();
  });

  test('has the front matter of the Agent Skills format', () => {
    const front = /^---\n([\s\S]*?)\n---\n/.exec(text)?.[1] ?? '';
    expect(front).toMatch(/^name: codex-remote-orchestrator$/m);
    const description = /^description: (.+)$/m.exec(front)?.[1] ?? '';
    expect(description.length).toBeGreaterThan(50);
    expect(description.length).toBeLessThanOrEqual(1024);
  });

  test('every command in it works, in its order, against a live machine', async () => {
    const commands = [...text.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap((block) =>
      (block[1] ?? '').trim().split('\n'),
    );
    expect(commands.length).toBeGreaterThanOrEqual(10);
    for (const command of commands) {
      const [program, ...args] = words(command);
      expect(program).toBe('codex-remote');
      const result = await cli.run(args);
      expect({ command, status: result.status, stderr: result.stderr }).toMatchObject({
        command,
        status: 0,
        stderr: '',
      });
      for (const line of result.stdout.toString().trim().split('\n'))
        expect(() => JSON.parse(line)).not.toThrow();
    }
  });
});
