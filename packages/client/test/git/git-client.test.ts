import type { Connection } from '@codex-remote/client';
import { GitClient } from '@codex-remote/client/git';
import { systemClock } from '@codex-remote/platform';
import { type ErrorCode, RemoteError } from '@codex-remote/protocol/wire';
import { expect, test } from 'vitest';

const address = { machine: 'box', project: 'app', connectWaitMs: 0 };
const commit = 'a'.repeat(40);
const answer = {
  exists: true,
  object_format: 'sha1',
  shallow: [],
  has: [commit],
  tips: [],
  commit,
  tree: commit,
};

/** A controller that fails so often before it answers, or for as long as it is asked. */
function client(
  failures: readonly ErrorCode[],
  value: object = answer,
): { git: GitClient; asked: () => number } {
  let asked = 0;
  const json = async (): Promise<unknown> => {
    const code = failures[asked++];
    if (code !== undefined) throw new RemoteError(code, 'not now');
    return value;
  };
  return { git: new GitClient({ json } as unknown as Connection, systemClock), asked: () => asked };
}

test.each(['have', 'fetch'] as const)(
  '%s is asked again where the controller goes away meanwhile, and not where it says no',
  async (verb) => {
    const ask = ({ git }: { git: GitClient }) =>
      verb === 'have' ? git.have(address, [commit]) : git.fetch(address, 'main');
    const cut = client(['stream_cut', 'controller_starting', 'machine_offline']);
    expect(await ask(cut)).toMatchObject(verb === 'have' ? { has: [commit] } : { commit });
    expect(cut.asked()).toBe(4);
    const refused = client(['policy_refused']);
    await expect(ask(refused)).rejects.toMatchObject({ code: 'policy_refused' });
    expect(refused.asked()).toBe(1);
  },
);

test('an answer with what is no object id is not believed', async () => {
  const { git } = client([], { ...answer, tips: ['--upload-pack=x'] });
  await expect(git.have(address, [commit])).rejects.toMatchObject({ code: 'protocol_error' });
});
