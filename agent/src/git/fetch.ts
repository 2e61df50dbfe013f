import { createHash } from 'node:crypto';
import type { Git, GitTransport } from '@codex-remote/platform/git';
import { RemoteError, readRepositoryUrl } from '@codex-remote/protocol/wire';
import type { Mirror } from './mirror.ts';
import { fetchedRefs } from './refs.ts';

/** A connection that gives less for so long is given up. */
const slowConfig = { 'http.lowSpeedLimit': '1', 'http.lowSpeedTime': '60' };

export interface Fetched {
  readonly commit: string;
  readonly tree: string;
}

/** The repository has objects of the other format. */
export class OtherFormat extends Error {}

/**
 * Brings what `ref` names in the repository at `url` into a mirror that is there, by the credentials and the configuration
 * of the machine's user, with nobody to ask. A whole commit id that is there already is not asked for.
 *
 * Throws `usage` for a URL or a ref that is none, `unknown_ref`, `fetch_failed`, `disk_low`, `cancelled`; `OtherFormat`.
 */
export async function fetchRef(
  mirror: Mirror,
  url: string,
  ref: string,
  signal: AbortSignal,
): Promise<Fetched> {
  const transport = transportOf(url);
  const git = await mirror.git();
  await checkRef(git, ref);
  const fetch = new Fetch(git, mirror, url, transport, signal);
  if (isCommitId(ref)) {
    const known = await fetch.resolve(ref);
    if (known) return known;
  }
  const name = `${fetchedRefs}/${createHash('sha256').update(`${url}\0${ref}`).digest('hex').slice(0, 24)}`;
  const failure = await fetch.run(`+${ref}:${name}`);
  const found = failure ? undefined : await fetch.resolve(name);
  if (found) return found;
  // A part of a commit's name, or a server that gives commits by the names of their branches alone.
  if (failure?.kind !== 'failed' && /^[0-9a-f]{4,64}$/.test(ref)) {
    const all = await fetch.run('+refs/heads/*:refs/remotes/origin/*', '+refs/tags/*:refs/tags/*');
    if (all?.kind === 'failed') throw failed(url, all.said);
    const commit = await fetch.resolve(ref);
    if (commit) return commit;
  }
  if (failure?.kind === 'failed') throw failed(url, failure.said);
  throw new RemoteError(
    'unknown_ref',
    `${url} has no branch, tag or commit ${JSON.stringify(ref.slice(0, 100))}`,
    {
      hint: 'git ls-remote shows what it has',
      facts: { ref: ref.slice(0, 255) },
    },
  );
}

/** `failed`: it could not be asked. */
interface Failure {
  readonly kind: 'absent' | 'failed';
  readonly said: string;
}

class Fetch {
  readonly #git: Git;
  readonly #mirror: Mirror;
  readonly #url: string;
  readonly #transport: GitTransport;
  readonly #signal: AbortSignal;

  constructor(git: Git, mirror: Mirror, url: string, transport: GitTransport, signal: AbortSignal) {
    this.#git = git;
    this.#mirror = mirror;
    this.#url = url;
    this.#transport = transport;
    this.#signal = signal;
  }

  async run(...refspecs: readonly string[]): Promise<Failure | undefined> {
    const options = ['--quiet', '--update-shallow', '--no-recurse-submodules'];
    const call = this.#mirror.call(['fetch', ...options, '--end-of-options', this.#url, ...refspecs], {
      userConfig: true,
      transports: [this.#transport],
      config: slowConfig,
    });
    const { code, stderr } = await this.#git.ask(call, { signal: this.#signal });
    if (code === 0) return undefined;
    if (/mismatched algorithms/.test(stderr)) throw new OtherFormat(stderr);
    if (/No space left on device|Disk quota exceeded/.test(stderr))
      throw new RemoteError('disk_low', 'git fetch: there is not enough free disk', {
        facts: { git_stderr: stderr.trim() },
      });
    const absent = /couldn't find remote ref|not our ref|unadvertised object|no such remote ref/i.test(
      stderr,
    );
    return { kind: absent ? 'absent' : 'failed', said: stderr.trim() };
  }

  async resolve(name: string): Promise<Fetched | undefined> {
    const call = this.#mirror.call(['rev-parse', '--quiet', `${name}^{commit}`, `${name}^{tree}`]);
    const { code, stdout } = await this.#git.ask(call);
    const [commit, tree] = stdout.toString('latin1').split('\n');
    return code === 0 && commit && tree ? { commit, tree } : undefined;
  }
}

/** The only way that a call for this URL may take. Throws `usage`. */
export function transportOf(url: string): GitTransport {
  const read = readRepositoryUrl(url);
  if (read.scheme) return read.scheme;
  throw new RemoteError('usage', `the repository ${JSON.stringify(url.slice(0, 200))} ${read.refused}`, {
    facts: { field: 'url' },
  });
}

/** What would be more than one name in a refspec, or none, is refused. Throws `unknown_ref`. */
async function checkRef(git: Git, ref: string): Promise<void> {
  const { code } = await git.ask({ args: ['check-ref-format', '--allow-onelevel', ref] });
  if (code === 0) return;
  throw new RemoteError('unknown_ref', `${JSON.stringify(ref.slice(0, 100))} cannot be the name of a ref`, {
    hint: 'a branch, a tag, or a commit',
    facts: { ref: ref.slice(0, 255) },
  });
}

function isCommitId(ref: string): boolean {
  return /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(ref);
}

function failed(url: string, said: string): RemoteError {
  const lines = said.split('\n');
  // What follows the cause is advice about access rights.
  const cause =
    lines.find((line) => /^(?:fatal|error|ssh): |Permission denied/.test(line)) ?? lines.at(-1) ?? '';
  return new RemoteError('fetch_failed', `the machine could not fetch ${url}: ${cause.slice(0, 300)}`, {
    hint: 'what git says is in git_stderr; credentials for it are those of the user on the machine',
    facts: { git_stderr: said },
  });
}
