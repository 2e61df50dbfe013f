import type { Command } from '../table/command.ts';
import { Table } from '../table/parse.ts';
import { auditList } from './audit/list.ts';
import { auditVerify } from './audit/verify.ts';
import { controllerLogs } from './controller/logs.ts';
import { controllerRotateCertificate } from './controller/rotate-certificate.ts';
import { controllerServe } from './controller/serve.ts';
import { controllerStart } from './controller/start.ts';
import { controllerStatus } from './controller/status.ts';
import { controllerStop } from './controller/stop.ts';
import { execApply } from './exec/apply.ts';
import { execArtifacts } from './exec/artifacts.ts';
import { execCancel } from './exec/cancel.ts';
import { execDiff } from './exec/diff.ts';
import { execList } from './exec/list.ts';
import { execLogs } from './exec/logs.ts';
import { execResult } from './exec/result.ts';
import { execRun } from './exec/run.ts';
import { execStart } from './exec/start.ts';
import { execWait } from './exec/wait.ts';
import { execWatch } from './exec/watch.ts';
import { fileList } from './file/list.ts';
import { fileMkdir } from './file/mkdir.ts';
import { fileRead } from './file/read.ts';
import { fileRemove } from './file/remove.ts';
import { fileStat } from './file/stat.ts';
import { fileWrite } from './file/write.ts';
import { machineAdd } from './machine/add.ts';
import { machineCheck } from './machine/check.ts';
import { machineDown } from './machine/down.ts';
import { machineInvite } from './machine/invite.ts';
import { machineList } from './machine/list.ts';
import { machineRemove } from './machine/remove.ts';
import { machineSet } from './machine/set.ts';
import { machineShow } from './machine/show.ts';
import { machineUp } from './machine/up.ts';
import { projectAdd } from './project/add.ts';
import { projectList } from './project/list.ts';
import { projectRemove } from './project/remove.ts';
import { projectShow } from './project/show.ts';
import { syncPull } from './sync/pull.ts';
import { syncPush } from './sync/push.ts';
import { tokenCreate } from './token/create.ts';
import { tokenList } from './token/list.ts';
import { tokenRevoke } from './token/revoke.ts';
import { version } from './version.ts';

/** Every command, in the order of the help. */
export const commands: readonly Command[] = [
  machineAdd,
  machineList,
  machineShow,
  machineSet,
  machineCheck,
  machineUp,
  machineInvite,
  machineDown,
  machineRemove,
  execRun,
  execStart,
  execResult,
  execLogs,
  execWatch,
  execWait,
  execCancel,
  execList,
  execDiff,
  execApply,
  execArtifacts,
  fileRead,
  fileWrite,
  fileList,
  fileStat,
  fileRemove,
  fileMkdir,
  projectAdd,
  projectList,
  projectShow,
  projectRemove,
  syncPush,
  syncPull,
  tokenCreate,
  tokenList,
  tokenRevoke,
  auditList,
  auditVerify,
  controllerStart,
  controllerServe,
  controllerStop,
  controllerStatus,
  controllerLogs,
  controllerRotateCertificate,
  version,
];

export const table = new Table(commands);

/** What runs without oclif: what is called often, or waits for nobody. */
export const isQuick = ({ name }: Command): boolean =>
  name.startsWith('exec ') ||
  name.startsWith('file ') ||
  name === 'machine check' ||
  name === 'machine list' ||
  name === 'machine show';

export const nouns: Readonly<Record<string, string>> = {
  machine: 'Machines: register, check, bring up and down',
  exec: 'Execs: run commands on machines and follow them',
  file: 'Files of machines: exact bytes both ways',
  project: 'Projects: the code that execs run at',
  sync: 'Folders on both sides: only what differs travels',
  token: 'Tokens: let a CLI elsewhere use this controller',
  audit: 'Who did what: the log of starts, machines, keys and tokens',
  controller: 'The daemon on this side',
};
