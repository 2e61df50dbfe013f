/**
 * Files that act without being named: another program reads and obeys them when somebody enters the folder, opens the editor,
 * starts a coding agent or a debugger, commits, or calls a package manager for anything at all. What comes from a machine is
 * written to such a name only where that is asked for. What runs because it is named (a Makefile, a test, a build script)
 * is not among them.
 */
export const autorunKinds = {
  shell: 'a shell or a tool for its environment reads it on entering the folder',
  git_hook: 'git or a manager of git hooks runs it',
  editor: 'an editor obeys it when it opens the folder',
  agent: 'coding agents obey it',
  package_manager: 'a package manager or build tool runs or obeys it whatever it is called for',
  debugger: 'a debugger or interpreter runs it when it is started in the folder',
} as const;
export type AutorunKind = keyof typeof autorunKinds;

/** Folders, at any depth: with all that is in them. */
const folders: Readonly<Record<AutorunKind, readonly string[]>> = {
  shell: ['.direnv', '.mise', '.devbox', '.devenv'],
  git_hook: [
    '.husky',
    '.githooks',
    '.git-hooks',
    '.git_hooks',
    '.hooks',
    'githooks',
    'git-hooks',
    '.lefthook',
  ],
  editor: [
    '.vscode',
    '.idea',
    '.zed',
    '.fleet',
    '.vs',
    '.theia',
    '.devcontainer',
    '.nvim',
    '.vim',
    '.settings',
  ],
  // biome-ignore format: a list of names
  agent: ['.claude', '.claude-plugin', '.codex', '.cursor', '.windsurf', '.gemini', '.continue', '.roo', '.cline', '.clinerules', '.opencode', '.kiro', '.amazonq', '.junie', '.augment', '.agents', '.agent', '.copilot', '.qwen', '.crush', '.goose'],
  package_manager: ['.yarn', '.cargo', '.mvn', '.bundle'],
  debugger: ['.ipython', '.jupyter'],
};

/** File names, at any depth. */
const names: Readonly<Record<AutorunKind, readonly string[]>> = {
  // biome-ignore format: a list of names
  shell: ['.envrc', '.env.fish', '.autoenv', '.autoenv.zsh', '.mise.toml', 'mise.toml', '.mise.local.toml', 'mise.local.toml', '.bashrc', '.bash_profile', '.profile', '.zshrc', '.zshenv', '.zprofile', '.inputrc', '.gitconfig', '.tmux.conf', 'devbox.json', 'devenv.nix'],
  // biome-ignore format: a list of names
  git_hook: ['lefthook.yml', '.lefthook.yml', 'lefthook.yaml', '.lefthook.yaml', 'lefthook.toml', '.lefthook.toml', 'lefthook.json', '.lefthook.json', 'lefthook-local.yml', '.lefthook-local.yml', '.pre-commit-config.yaml', '.pre-commit-config.yml', '.pre-commit-hooks.yaml', '.overcommit.yml', '.huskyrc', '.huskyrc.json', '.huskyrc.js', '.simple-git-hooks.json', '.simple-git-hooks.js', '.simple-git-hooks.cjs', 'simple-git-hooks.json', 'simple-git-hooks.js', 'simple-git-hooks.cjs', 'captainhook.json'],
  // biome-ignore format: a list of names
  editor: ['.exrc', '.nvimrc', '.nvim.lua', '.vimrc', '.gvimrc', '.lvimrc', '.dir-locals.el', '.dir-locals-2.el', '.projectile', '.devcontainer.json', '.gitpod.yml'],
  // biome-ignore format: a list of names
  agent: ['agents.md', 'agents.override.md', 'agent.md', 'claude.md', 'claude.local.md', 'gemini.md', 'qwen.md', 'warp.md', 'crush.md', 'codex.md', 'copilot-instructions.md', '.cursorrules', '.windsurfrules', '.clinerules', '.roorules', '.roomodes', '.goosehints', '.rules', '.aider.conf.yml', '.mcp.json', 'mcp.json', 'opencode.json', 'opencode.jsonc', 'crush.json', '.crush.json'],
  // biome-ignore format: a list of names
  package_manager: ['.npmrc', '.yarnrc', '.yarnrc.yml', '.pnpmfile.cjs', '.pnpmfile.mjs', 'pnpmfile.js', '.pnp.cjs', '.pnp.js', '.pnp.loader.mjs', 'bunfig.toml', '.bazelrc', '.bazelversion', 'uv.toml', 'sitecustomize.py', 'usercustomize.py', 'nuget.config', 'init.gradle'],
  // biome-ignore format: a list of names
  debugger: ['.gdbinit', '.lldbinit', '.rprofile', '.renviron', '.irbrc', '.pryrc', '.pythonrc', '.pythonrc.py', '.pythonstartup', '.iex.exs', '.erlang', '.ghci', '.octaverc', '.perldb', '.byebugrc', '.ocamlinit', '.guile', '.psqlrc', '.sqliterc', '.my.cnf'],
};

const endings: Readonly<Partial<Record<AutorunKind, readonly string[]>>> = {
  editor: ['.code-workspace', '.sublime-project', '.sublime-workspace', '.iml'],
  agent: ['.mdc', '.instructions.md', '.prompt.md', '.chatmode.md'],
  package_manager: ['.pth'],
};

const byFolder = indexOf(folders);
const byName = indexOf(names);
const byEnding = [...indexOf(endings)];

/**
 * Why what is written to `path` would act by itself; undefined where it does not. `path`: relative to the top of the tree,
 * `/` between its parts. Upper case and composed characters make no difference, as they make none to some file systems.
 */
export function autorunKind(path: string): AutorunKind | undefined {
  const parts = path.split('/').map(foldName);
  const last = parts.at(-1) ?? '';
  // The last part too: a link in the place of the folder leads to another one.
  for (const part of parts) {
    const kind = byFolder.get(part);
    if (kind) return kind;
  }
  return byName.get(last) ?? byEnding.find(([ending]) => last.endsWith(ending))?.[1];
}

/** A name as file systems that fold names compare it. */
export function foldName(name: string): string {
  return name.normalize('NFC').toLowerCase();
}

/** Names that are obeyed at the top of a tree: where one is a link there, what it leads to is obeyed too. */
export const autorunRoots: readonly string[] = [...byFolder.keys(), ...byName.keys()];

function indexOf(
  table: Readonly<Partial<Record<AutorunKind, readonly string[]>>>,
): ReadonlyMap<string, AutorunKind> {
  return new Map(
    (Object.keys(autorunKinds) as AutorunKind[]).flatMap((kind) =>
      (table[kind] ?? []).map((name) => [name, kind] as const),
    ),
  );
}
