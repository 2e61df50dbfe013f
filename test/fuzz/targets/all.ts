import type { Target } from '../target.ts';
import {
  configTarget,
  exitTarget,
  journalTarget,
  registryTarget,
  releasedTarget,
  specTarget,
  timesTarget,
} from './disk.ts';
import { helloTarget } from './handshake.ts';
import { httpTarget } from './http.ts';
import { cursorTarget, datingTarget, recordsTarget } from './logs.ts';
import { auditTarget, scopeTarget, tokenTarget } from './secrets.ts';
import { knownHostsTarget, sshConfigTarget, sshTargetTarget } from './ssh.ts';
import { ignoreTarget, linkTarget, manifestTarget } from './trees.ts';
import { frameTarget, messageTarget, sessionTarget } from './wire.ts';

/** Everything that reads what others wrote, or what lay on a disk. */
export const targets: readonly Target[] = [
  frameTarget,
  messageTarget,
  sessionTarget,
  helloTarget,
  recordsTarget,
  datingTarget,
  cursorTarget,
  httpTarget,
  knownHostsTarget,
  sshConfigTarget,
  sshTargetTarget,
  exitTarget,
  journalTarget,
  releasedTarget,
  timesTarget,
  configTarget,
  registryTarget,
  specTarget,
  tokenTarget,
  scopeTarget,
  auditTarget,
  manifestTarget,
  ignoreTarget,
  linkTarget,
];
