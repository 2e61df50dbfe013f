/** Transports that a call may use. Everything else, `ext::` among it, is refused by git itself. */
export type GitTransport = 'https' | 'ssh' | 'git' | 'file';

/** One run of git. */
export interface GitCall {
  /**
   * Subcommand, options, operands. Who calls puts `--end-of-options` before each ref that came from outside and `--` before
   * each path: nothing here can know which is which.
   */
  readonly args: readonly string[];
  /** Absolute. Where git looks for a repository when `gitDir` is absent, and what relative paths are relative to. */
  readonly cwd?: string;
  readonly gitDir?: string;
  readonly workTree?: string;
  readonly indexFile?: string;
  /** New objects go here, and those of `alternates` are seen too. */
  readonly objects?: { readonly directory: string; readonly alternates: readonly string[] };
  /** In place of the `shallow` of the repository. */
  readonly shallowFile?: string | undefined;
  /** `section.name` to value; counts more than what is in any file. */
  readonly config?: Readonly<Record<string, string>>;
  /** Absent: none. */
  readonly transports?: readonly GitTransport[];
  /** The configuration of the user and the system counts too, with its credential helpers. Else the repository's alone. */
  readonly userConfig?: boolean;
  /** Of the files that it makes. Absent: ours. */
  readonly umask?: number;
  /** Who is author and committer, and when, where commits are made: `GIT_AUTHOR_NAME` … */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * What counts before any configuration file: no program of a repository's choice runs, nothing is started in the background,
 * nobody is asked, and output is for programs. `protocol.allow` is the default of every transport.
 */
const fixedConfig: Readonly<Record<string, string>> = {
  'core.fsmonitor': 'false',
  'core.hooksPath': '/dev/null',
  'core.quotePath': 'false',
  'core.askPass': '',
  'core.pager': 'cat',
  'gc.auto': '0',
  'maintenance.auto': 'false',
  'protocol.allow': 'never',
  'submodule.recurse': 'false',
  'fetch.recurseSubmodules': 'false',
  'advice.detachedHead': 'false',
  'log.showSignature': 'false',
  'commit.gpgSign': 'false',
};

/**
 * For calls that make, take apart or check out what may be huge: larger blobs pass through git in pieces, neither held whole in
 * memory nor compared for deltas.
 */
export const streamedBlobs = { 'core.bigFileThreshold': '16m' } as const;

/**
 * Command line of `call` behind the program's name. By `-c` and not by `GIT_CONFIG_COUNT`, which git before 2.31 passes
 * over in silence.
 */
export function commandLine(call: GitCall): string[] {
  const config = {
    ...fixedConfig,
    ...call.config,
    ...Object.fromEntries((call.transports ?? []).map((name) => [`protocol.${name}.allow`, 'always'])),
  };
  return [
    '--no-pager',
    '--no-replace-objects',
    '--literal-pathspecs',
    ...(call.gitDir === undefined ? [] : [`--git-dir=${call.gitDir}`]),
    ...(call.shallowFile === undefined ? [] : ['--shallow-file', call.shallowFile]),
    ...(call.workTree === undefined ? [] : [`--work-tree=${call.workTree}`]),
    ...Object.entries(config).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ...call.args,
  ];
}

/** Variables of the caller by which git reaches the network as its user does; `PATH` finds it. */
const inherited = [
  'PATH',
  'TMPDIR',
  'USER',
  'LOGNAME',
  'SSH_AUTH_SOCK',
  'http_proxy',
  'https_proxy',
  'HTTPS_PROXY',
  'all_proxy',
  'ALL_PROXY',
  'no_proxy',
  'NO_PROXY',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
];

/** The whole environment of `call`: no `GIT_…` of `from` reaches it. A home of its own where no user's configuration counts. */
export function environment(
  call: GitCall,
  from: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const { objects, indexFile, userConfig } = call;
  const users = userConfig ? ['HOME', 'XDG_CONFIG_HOME', 'XDG_RUNTIME_DIR'] : [];
  const kept = [...inherited, ...users].flatMap((name) => {
    const value = from[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return {
    ...Object.fromEntries(kept),
    ...(!userConfig && { HOME: '/dev/null', GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null' }),
    // Words of git that are looked at are English.
    LC_ALL: 'C',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: '',
    SSH_ASKPASS_REQUIRE: 'never',
    GIT_OPTIONAL_LOCKS: '0',
    ...(indexFile !== undefined && { GIT_INDEX_FILE: indexFile }),
    ...(objects && {
      GIT_OBJECT_DIRECTORY: objects.directory,
      GIT_ALTERNATE_OBJECT_DIRECTORIES: objects.alternates.map(quotedAlternate).join(':'),
    }),
    ...call.env,
  };
}

/** Paths are joined by colons there; one in double quotes is read as a C string. */
function quotedAlternate(path: string): string {
  return /[:"\\\n]/.test(path) ? JSON.stringify(path) : path;
}
