/** Longest URL of a repository that is kept. */
export const maxRepositoryUrlLength = 2048;

/**
 * Ways by which a machine may fetch. Nothing else is given to git: `ext::` and other helpers run commands, and a word that
 * begins with a dash is an option to it or to ssh.
 */
export const repositorySchemes = ['https', 'ssh', 'git', 'file'] as const;
export type RepositoryScheme = (typeof repositorySchemes)[number];

/** What git and ssh take for a host, and nothing that either takes for an option. */
const host = /^(?:[A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])$/;
const userName = /^[A-Za-z0-9_][A-Za-z0-9._+-]*$/;
/** `[user@]host:path`, as ssh has it: no slash before the colon, and no second colon after it. */
const scpLike = /^(?:([^@/:]*)@)?([^@/:[\]]+|\[[^\]/@]*\]):(?!:)(.+)$/s;
const unprintable = /[\0-\x20\x7f]/;

export type RepositoryUrl =
  | { readonly scheme: RepositoryScheme; readonly refused?: undefined }
  | { readonly scheme?: undefined; readonly refused: string };

/** Whether a text is meant as a URL of git rather than as a path: it has a scheme, a helper or a host before a colon. */
export function looksLikeRepositoryUrl(text: string): boolean {
  return /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(text) || /^[^/:]+:/.test(text);
}

/** The scheme of a URL that may be fetched, or why it may not. A password in it would be kept and shown: it is refused. */
export function readRepositoryUrl(text: string): RepositoryUrl {
  if (text.length > maxRepositoryUrlLength)
    return { refused: `is over ${maxRepositoryUrlLength} characters` };
  if (unprintable.test(text)) return { refused: 'has a space or a control character in it' };
  const [, named, rest] = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/(.*)$/.exec(text) ?? [];
  if (named === undefined || rest === undefined) return readScpLike(text);
  const scheme = repositorySchemes.find((known) => known === named.toLowerCase());
  if (scheme === undefined)
    return { refused: `has the scheme ${named.slice(0, 32)}; there are ${repositorySchemes.join(', ')}` };
  const slash = rest.indexOf('/');
  const [authority, path] = slash < 0 ? [rest, ''] : [rest.slice(0, slash), rest.slice(slash)];
  if (path.length < 2) return { refused: 'names no repository' };
  if (scheme === 'file')
    return authority === '' ? { scheme } : { refused: 'names a host; file:///PATH has none' };
  return readAuthority(scheme, authority);
}

function readScpLike(text: string): RepositoryUrl {
  const [, user, name, path] = scpLike.exec(text) ?? [];
  if (name === undefined || path === undefined)
    return { refused: `is no URL of ${repositorySchemes.join(', ')}, nor HOST:PATH` };
  if ((user !== undefined && !userName.test(user)) || !host.test(name))
    return { refused: 'has a user or host that is no name' };
  return path.startsWith('-') ? { refused: 'has a path that begins with -' } : { scheme: 'ssh' };
}

function readAuthority(scheme: RepositoryScheme, authority: string): RepositoryUrl {
  const [, user, , name, port] =
    /^(?:([^@:]*)(:[^@]*)?@)?(\[[^\]]*\]|[^:@]*)(?::(\d{1,5}))?$/.exec(authority) ?? [];
  if (name === undefined || !host.test(name)) return { refused: 'has no host that is a name or an address' };
  if (/^[^@]*:[^@]*@/.test(authority)) return { refused: 'has a password in it' };
  if (user !== undefined && !userName.test(user)) return { refused: 'has a user that is no name' };
  return port !== undefined && Number(port) > 65_535 ? { refused: 'has no port of that number' } : { scheme };
}
