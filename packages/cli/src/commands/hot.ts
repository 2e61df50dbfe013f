import type { Command } from '../table/command.ts';
import { execCancel } from './exec/cancel.ts';
import { execList } from './exec/list.ts';
import { execLogs } from './exec/logs.ts';
import { execResult } from './exec/result.ts';
import { execRun } from './exec/run.ts';
import { execStart } from './exec/start.ts';
import { execWait } from './exec/wait.ts';
import { execWatch } from './exec/watch.ts';
import { machineCheck } from './machine/check.ts';

/** What programs call over and over: each half millisecond of it is theirs. */
export const hotCommands: readonly Command[] = [
  machineCheck,
  execRun,
  execStart,
  execResult,
  execLogs,
  execWatch,
  execWait,
  execCancel,
  execList,
];
