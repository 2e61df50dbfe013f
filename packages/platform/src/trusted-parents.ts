import { lstatSync, readFileSync, realpathSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';

const sticky = 0o1000;

/** Of the system as its files have it; a test has another. */
export interface Accounts {
  readonly uid: number;
  readonly user: () => string;
  /** /etc/group, group(5). */
  readonly groups: () => string;
  /** Whether every owner of the host has a number here; in a user namespace some do not. */
  readonly allOwnersKnown: () => boolean;
}

/** What an owner without a number of its own is shown as in a user namespace, see user_namespaces(7). */
const unmappedUid = 65_534;

/**
 * Whoever can write to a folder on the way to ours can put another in its place. So each belongs to us or to root, and no
 * other user writes to it; a sticky one is safe (/tmp), and so is what lies behind a folder that nobody else may pass.
 * Throws `state_unusable` with the folder and what to do. Folders that are missing are made by us, and not looked at.
 */
export function checkParents(path: string, accounts: Accounts = systemAccounts()): void {
  for (const way of new Set([dirname(path), realParent(path)])) checkWay(way, accounts);
}

function checkWay(path: string, accounts: Accounts): void {
  const folders: string[] = [];
  for (let at = path; ; at = dirname(at)) {
    folders.unshift(at);
    if (at === dirname(at)) break;
  }
  for (const folder of folders) {
    const stat = lstatSync(folder, { throwIfNoEntry: false });
    if (!stat) return;
    if (!stat.isDirectory()) continue;
    const owned =
      stat.uid === accounts.uid || stat.uid === 0 || (stat.uid === unmappedUid && !accounts.allOwnersKnown());
    if (!owned) throw unsafe(path, folder, `belongs to another user (${stat.uid})`, 'choose another place');
    if ((stat.mode & sticky) === 0 && othersWrite(stat, accounts))
      throw unsafe(path, folder, 'can be changed by other users', `\`chmod go-w ${folder}\``);
    // Nobody else gets past it.
    if ((stat.mode & 0o011) === 0) return;
  }
}

/** A group of one user is that user: Debian and Fedora give each a group of his own, and some an umask of 002. */
function othersWrite({ mode, gid }: Stats, { user, groups }: Accounts): boolean {
  if ((mode & 0o002) !== 0) return true;
  if ((mode & 0o020) === 0) return false;
  const line = groups()
    .split('\n')
    .find((entry) => entry.split(':')[2] === String(gid));
  const [name = '', , , members = ''] = line?.split(':') ?? [];
  return name !== user() || members.split(',').some((member) => member !== '' && member !== name);
}

function realParent(path: string): string {
  for (let at = dirname(path); ; at = dirname(at)) {
    try {
      return realpathSync(at);
    } catch (error) {
      // Not there yet, or nothing that we may look into: whoever makes or uses it is told so.
      if (at === dirname(at)) throw error;
    }
  }
}

function unsafe(path: string, folder: string, why: string, hint: string): RemoteError {
  return new RemoteError('state_unusable', `${path} is no place for our files: ${folder} ${why}`, {
    hint,
    sent: 'no',
    facts: { folder },
  });
}

function systemAccounts(): Accounts {
  const read = (file: string): string => {
    try {
      return readFileSync(file, 'utf8');
    } catch {
      return '';
    }
  };
  return {
    uid: process.getuid?.() ?? 0,
    // Loaded only where it is needed: it takes 6 ms of a short command.
    user: () => process.getBuiltinModule('node:os').userInfo().username,
    groups: () => read('/etc/group'),
    allOwnersKnown: () => /^\s*0\s+0\s+4294967295\s*$/.test(read('/proc/self/uid_map')),
  };
}
