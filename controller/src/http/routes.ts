import type { ApiCall, ApiContext } from './context.ts';
import { controllerStatus, stopController } from './controller-routes.ts';
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
import {
  addMachine,
  answerPrompt,
  checkMachine,
  listMachines,
  machineDown,
  machineUp,
  removeMachine,
  setMachineQueues,
  showMachine,
} from './machine-routes.ts';
import type { RecordResponse } from './record-response.ts';

interface Place {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly url: string;
}

type JsonHandler = (context: ApiContext, call: ApiCall) => unknown;
/** Writes records, the last one an event. */
export type RecordsHandler = (context: ApiContext, call: ApiCall, response: RecordResponse) => Promise<void>;

/** `json`: the returned value is the answer; with `follow=1` in the query `follow` answers instead, where there is one. */
export type Route =
  | (Place & { readonly kind: 'json'; readonly handle: JsonHandler; readonly follow?: RecordsHandler })
  | (Place & { readonly kind: 'records'; readonly handle: RecordsHandler });

export const routes: readonly Route[] = [
  { method: 'GET', url: '/v1/controller', kind: 'json', handle: controllerStatus },
  { method: 'POST', url: '/v1/controller/stop', kind: 'json', handle: stopController },
  { method: 'GET', url: '/v1/machines', kind: 'json', handle: listMachines },
  { method: 'POST', url: '/v1/machines', kind: 'json', handle: addMachine },
  { method: 'GET', url: '/v1/machines/:name', kind: 'json', handle: showMachine },
  { method: 'DELETE', url: '/v1/machines/:name', kind: 'json', handle: removeMachine },
  { method: 'POST', url: '/v1/machines/:name/queues', kind: 'json', handle: setMachineQueues },
  { method: 'POST', url: '/v1/machines/:name/check', kind: 'json', handle: checkMachine },
  { method: 'POST', url: '/v1/machines/:name/up', kind: 'records', handle: machineUp },
  { method: 'POST', url: '/v1/prompts/:id', kind: 'json', handle: answerPrompt },
  { method: 'POST', url: '/v1/machines/:name/down', kind: 'json', handle: machineDown },
  { method: 'GET', url: '/v1/execs', kind: 'json', handle: listExecs },
  { method: 'POST', url: '/v1/execs', kind: 'json', handle: startExec, follow: runExec },
  { method: 'GET', url: '/v1/execs/:id', kind: 'json', handle: getExec },
  { method: 'GET', url: '/v1/execs/:id/logs', kind: 'records', handle: readLogs },
  { method: 'GET', url: '/v1/execs/:id/watch', kind: 'records', handle: watchExec },
  { method: 'POST', url: '/v1/execs/:id/cancel', kind: 'json', handle: cancelExec },
  { method: 'GET', url: '/v1/execs-wait', kind: 'json', handle: waitExecs },
];
