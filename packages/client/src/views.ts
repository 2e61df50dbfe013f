import type { CancelReply, ExecView, StartReply } from '@codex-remote/protocol/schema';
import { arrayOf, booleanOf, isObject, numberOf, objectOf, stringOf, wrong } from './shape.ts';

/** An exec as the controller answers it: what exit codes and `next_action` are decided by is checked. */
export function readExecView(value: unknown): ExecView {
  const view = objectOf(value, 'exec');
  stringOf(view.machine, 'machine');
  booleanOf(view.machine_connected, 'machine_connected');
  const state = objectOf(view.state, 'state');
  stringOf(state.exec_id, 'exec_id');
  numberOf(state.stdout_bytes, 'stdout_bytes');
  numberOf(state.stderr_bytes, 'stderr_bytes');
  switch (state.status) {
    case 'queued':
    case 'running':
      break;
    case 'finished':
      if (!Number.isInteger(numberOf(state.exit_code, 'exit_code'))) throw wrong('exit_code', 'an integer');
      stringOf(state.reason, 'reason');
      break;
    case 'lost':
      stringOf(state.reason, 'reason');
      booleanOf(state.safe_to_retry, 'safe_to_retry');
      break;
    default:
      throw wrong('status', 'queued, running, finished or lost');
  }
  return value as ExecView;
}

export function readStartReply(value: unknown): StartReply {
  const reply = objectOf(value, 'start reply');
  return { view: readExecView(reply.view), attached: booleanOf(reply.attached, 'attached') };
}

export function readCancelReply(value: unknown): CancelReply {
  const reply = objectOf(value, 'cancel reply');
  return {
    view: readExecView(reply.view),
    already_finished: booleanOf(reply.already_finished, 'already_finished'),
    leftover_pids: arrayOf(reply.leftover_pids, 'leftover_pids').map((pid) => numberOf(pid, 'pid')),
  };
}

export interface ExecList {
  execs: ExecView[];
  total: number;
  more: boolean;
}

export function readExecList(value: unknown): ExecList {
  const list = objectOf(value, 'exec list');
  return {
    execs: arrayOf(list.execs, 'execs').map(readExecView),
    total: numberOf(list.total, 'total'),
    more: booleanOf(list.more, 'more'),
  };
}

export interface WaitReply {
  execs: ExecView[];
  done: boolean;
}

export function readWaitReply(value: unknown): WaitReply {
  const reply = objectOf(value, 'wait reply');
  return { execs: arrayOf(reply.execs, 'execs').map(readExecView), done: booleanOf(reply.done, 'done') };
}

/** The value of `name` in an event record, or undefined. */
export function eventField(event: unknown, name: string): unknown {
  return isObject(event) ? event[name] : undefined;
}
