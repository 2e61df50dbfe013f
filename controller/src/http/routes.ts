import type { Scope } from '../access/scopes.ts';
import { listArtifacts, readArtifact } from './artifact-routes.ts';
import { listAudit, verifyAudit } from './audit-routes.ts';
import type { ApiCall, ApiContext } from './context.ts';
import { changeDirect, controllerStatus, rotateCertificate, stopController } from './controller-routes.ts';
import { showDiff } from './diff-routes.ts';
import {
  cancelExec,
  getExec,
  listExecs,
  readLogs,
  runExec,
  startExec,
  waitExecs,
  watchExec,
} from './exec-routes.ts';
import { listFiles, makeFolder, readFile, removeFile, showFile, writeFile } from './file-routes.ts';
import { fetchCommits, haveCommits, receiveCommits } from './git-routes.ts';
import { inviteByBundle, inviteMachine, revokeInvitations } from './invite-routes.ts';
import {
  addMachine,
  answerPrompt,
  checkMachine,
  listMachines,
  machineDown,
  machineUp,
  removeMachine,
  setMachinePolicy,
  setMachineQueues,
  showMachine,
} from './machine-routes.ts';
import { addProject, listProjects, removeProject, showProject } from './project-routes.ts';
import type { RecordResponse } from './record-response.ts';
import { pullTree, pushTree } from './sync-routes.ts';
import { createToken, listTokens, revokeToken } from './token-routes.ts';

interface Place {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** `:name` is a machine, and only that. */
  readonly url: string;
  /**
   * What a caller must hold: a scope, there where it names a machine (`:name`, or `machine` in the query) for that machine.
   * `local`: only our own user on this host. `any`: whoever is known.
   */
  readonly scope: RouteScope;
  /** Who holds this for the `project` in the query is let in too, on every machine that the caller is not kept from. */
  readonly orOfProject?: 'sync:write';
}

export type RouteScope = Scope | 'local' | 'any';

type JsonHandler = (context: ApiContext, call: ApiCall) => unknown;
/** Writes records, the last one an event. */
export type RecordsHandler = (context: ApiContext, call: ApiCall, response: RecordResponse) => Promise<void>;

/** `json`: the returned value is the answer; with `follow=1` in the query `follow` answers instead, where there is one. */
export type Route =
  | (Place & { readonly kind: 'json'; readonly handle: JsonHandler; readonly follow?: RecordsHandler })
  | (Place & { readonly kind: 'records'; readonly handle: RecordsHandler });

// biome-ignore format: one route a line reads as the table that it is.
export const routes: readonly Route[] = [
  { method: 'GET', url: '/v1/controller', scope: 'any', kind: 'json', handle: controllerStatus },
  { method: 'POST', url: '/v1/controller/stop', scope: 'local', kind: 'json', handle: stopController },
  { method: 'POST', url: '/v1/controller/direct', scope: 'local', kind: 'json', handle: changeDirect },
  { method: 'POST', url: '/v1/controller/certificate', scope: 'local', kind: 'json', handle: rotateCertificate },
  { method: 'GET', url: '/v1/machines', scope: 'machines:read', kind: 'json', handle: listMachines },
  { method: 'POST', url: '/v1/machines', scope: 'admin', kind: 'json', handle: addMachine },
  { method: 'GET', url: '/v1/machines/:name', scope: 'machines:read', kind: 'json', handle: showMachine },
  { method: 'DELETE', url: '/v1/machines/:name', scope: 'admin', kind: 'json', handle: removeMachine },
  { method: 'POST', url: '/v1/machines/:name/queues', scope: 'admin', kind: 'json', handle: setMachineQueues },
  { method: 'POST', url: '/v1/machines/:name/policy', scope: 'admin', kind: 'json', handle: setMachinePolicy },
  { method: 'POST', url: '/v1/machines/:name/check', scope: 'machines:read', kind: 'json', handle: checkMachine },
  { method: 'POST', url: '/v1/machines/:name/up', scope: 'local', kind: 'records', handle: machineUp },
  { method: 'POST', url: '/v1/machines/:name/invite', scope: 'admin', kind: 'json', handle: inviteMachine },
  { method: 'DELETE', url: '/v1/machines/:name/invite', scope: 'admin', kind: 'json', handle: revokeInvitations },
  { method: 'POST', url: '/v1/machines/:name/invite-bundle', scope: 'admin', kind: 'records', handle: inviteByBundle },
  { method: 'POST', url: '/v1/prompts/:id', scope: 'local', kind: 'json', handle: answerPrompt },
  { method: 'POST', url: '/v1/machines/:name/down', scope: 'admin', kind: 'json', handle: machineDown },
  { method: 'GET', url: '/v1/machines/:name/files/stat', scope: 'files:read', kind: 'json', handle: showFile },
  { method: 'GET', url: '/v1/machines/:name/files/list', scope: 'files:read', kind: 'records', handle: listFiles },
  { method: 'GET', url: '/v1/machines/:name/files/read', scope: 'files:read', kind: 'records', handle: readFile },
  { method: 'POST', url: '/v1/machines/:name/files/write', scope: 'files:write', kind: 'records', handle: writeFile },
  { method: 'POST', url: '/v1/machines/:name/files/remove', scope: 'files:write', kind: 'json', handle: removeFile },
  { method: 'POST', url: '/v1/machines/:name/files/mkdir', scope: 'files:write', kind: 'json', handle: makeFolder },
  { method: 'GET', url: '/v1/projects', scope: 'machines:read', kind: 'json', handle: listProjects },
  { method: 'POST', url: '/v1/projects', scope: 'admin', kind: 'json', handle: addProject },
  { method: 'GET', url: '/v1/projects/:project', scope: 'machines:read', kind: 'json', handle: showProject },
  { method: 'DELETE', url: '/v1/projects/:project', scope: 'admin', kind: 'json', handle: removeProject },
  { method: 'POST', url: '/v1/machines/:name/git/have', scope: 'exec:run', orOfProject: 'sync:write', kind: 'json', handle: haveCommits },
  { method: 'POST', url: '/v1/machines/:name/git/receive', scope: 'exec:run', orOfProject: 'sync:write', kind: 'records', handle: receiveCommits },
  { method: 'POST', url: '/v1/machines/:name/git/fetch', scope: 'exec:run', orOfProject: 'sync:write', kind: 'json', handle: fetchCommits },
  { method: 'POST', url: '/v1/machines/:name/sync/push', scope: 'files:write', kind: 'records', handle: pushTree },
  { method: 'POST', url: '/v1/machines/:name/sync/pull', scope: 'files:read', kind: 'records', handle: pullTree },
  { method: 'GET', url: '/v1/execs', scope: 'exec:read', kind: 'json', handle: listExecs },
  { method: 'POST', url: '/v1/execs', scope: 'exec:run', kind: 'json', handle: startExec, follow: runExec },
  { method: 'GET', url: '/v1/execs/:id', scope: 'exec:read', kind: 'json', handle: getExec },
  { method: 'GET', url: '/v1/execs/:id/logs', scope: 'logs:read', kind: 'records', handle: readLogs },
  { method: 'GET', url: '/v1/execs/:id/diff', scope: 'logs:read', kind: 'records', handle: showDiff },
  { method: 'GET', url: '/v1/execs/:id/watch', scope: 'logs:read', kind: 'records', handle: watchExec },
  { method: 'GET', url: '/v1/execs/:id/artifacts', scope: 'logs:read', kind: 'records', handle: listArtifacts },
  { method: 'GET', url: '/v1/execs/:id/artifacts/read', scope: 'logs:read', kind: 'records', handle: readArtifact },
  { method: 'POST', url: '/v1/execs/:id/cancel', scope: 'exec:run', kind: 'json', handle: cancelExec },
  { method: 'GET', url: '/v1/audit', scope: 'admin', kind: 'json', handle: listAudit },
  { method: 'GET', url: '/v1/audit/verify', scope: 'admin', kind: 'json', handle: verifyAudit },
  { method: 'GET', url: '/v1/execs-wait', scope: 'exec:read', kind: 'json', handle: waitExecs },
  { method: 'GET', url: '/v1/tokens', scope: 'admin', kind: 'json', handle: listTokens },
  { method: 'POST', url: '/v1/tokens', scope: 'admin', kind: 'json', handle: createToken },
  { method: 'DELETE', url: '/v1/tokens/:id', scope: 'admin', kind: 'json', handle: revokeToken },
];
