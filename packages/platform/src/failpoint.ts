import { appendFileSync } from 'node:fs';

/** False in what is released: then nothing of this file but an empty function is left, and no call of it. */
declare const __CODEX_REMOTE_FAILPOINTS__: boolean | undefined;

/**
 * Moments at which a test can end, stop, hold up or fail a process: both sides of every durable write, acknowledgement,
 * spawn and signal. Named by process, what is done, and side. A test fails when one is never met.
 */
export const failpoints = [
  /** Every file that `writeDurable` and `writeDurableSync` replace, whosever it is. */
  'durable.before',
  /** The new bytes are on disk, under a name that nobody reads. */
  'durable.rename',
  'durable.after',
  'key.before',
  'key.after',
  'client.controller_spawn.before',
  'client.controller_spawn.after',
  /**
   * Of a patch that is applied to a tree here: all is ready, what is replaced has a second name, each step, and each
   * that is taken back.
   */
  'client.apply.before',
  'client.apply.kept',
  'client.apply.step',
  'client.apply.undone',
  'client.apply.after',

  'controller.registry.before',
  'controller.registry.after',
  'controller.tokens.before',
  'controller.tokens.after',
  'controller.projects.before',
  'controller.projects.after',
  /** A join token is used up, before the agent is told. */
  'controller.join_token.before',
  'controller.join_token.after',
  'controller.certificate.before',
  'controller.certificate.after',
  'controller.direct_settings.before',
  'controller.direct_settings.after',
  'controller.upload.before',
  'controller.upload.after',
  'controller.start.before',
  'controller.start.after',
  'controller.history.before',
  'controller.history.after',
  'controller.audit.before',
  /** The line is in the file and not yet on disk. */
  'controller.audit.written',
  'controller.audit.after',
  'controller.audit_rotate.before',
  'controller.audit_rotate.after',
  'controller.audit_remove.before',
  'controller.audit_remove.after',
  'controller.acknowledge.before',
  'controller.acknowledge.after',

  'agent.config.before',
  'agent.config.after',
  'agent.digest_key.before',
  'agent.digest_key.after',
  'agent.daemon_spawn.before',
  'agent.daemon_spawn.after',
  'agent.daemon_state.before',
  'agent.daemon_state.after',
  'agent.daemon_term.before',
  'agent.daemon_term.after',
  'agent.daemon_kill.before',
  'agent.daemon_kill.after',

  'agent.shim_spawn.before',
  'agent.shim_spawn.after',
  'agent.spec.before',
  /** The folder has its name; neither is on disk for sure. */
  'agent.spec.renamed',
  'agent.spec.after',
  /** A queued exec: accepted, then no more queued because it starts, or because it ends. */
  'agent.queued.before',
  'agent.queued.after',
  'agent.leave.before',
  'agent.leave.after',
  'agent.queued_end.before',
  'agent.queued_end.after',
  'agent.queues.before',
  'agent.queues.after',
  'agent.policy.before',
  'agent.policy.after',
  'agent.identity.before',
  'agent.identity.after',
  'agent.go.after',
  'agent.start_reply.before',
  'agent.start_reply.after',
  'agent.cancel.before',
  'agent.cancel.after',
  'agent.term.before',
  'agent.term.after',
  'agent.kill.before',
  'agent.kill.after',
  'agent.orphaned.before',
  'agent.orphaned.after',
  /** What is kept of an exec takes its place in the exec's folder. */
  'agent.artifacts.before',
  'agent.artifacts.after',
  'agent.end.before',
  'agent.end.after',
  'agent.report.before',
  'agent.report.after',
  'agent.acknowledged.before',
  'agent.acknowledged.after',
  'agent.released.before',
  'agent.released.after',
  'agent.punch.before',
  'agent.punch.after',
  /** A file that was sent takes its place: it is whole and on disk under a name of its own. */
  'agent.file_note.before',
  'agent.file_note.after',
  'agent.file_write.before',
  'agent.file_write.after',
  'agent.tombstone.before',
  'agent.tombstone.after',
  'agent.removal.after',
] as const;

export type Failpoint = (typeof failpoints)[number];

/**
 * Does what `CR_FP` says of this moment; true when what follows is to be left out (`drop`).
 *
 *     CR_FP=name:action[:n][,name:action[:n]…]      n: only the n-th time that the process comes by
 *     action: exit9 | stop | sleep=MS | throw[=CODE] | drop
 *     CR_FP_HITS=file                               the names that the process comes by are appended to it
 */
export function failpoint(name: Failpoint): true | undefined {
  if (typeof __CODEX_REMOTE_FAILPOINTS__ === 'undefined' || __CODEX_REMOTE_FAILPOINTS__) return hit(name);
  return;
}

interface Order {
  readonly action: string;
  readonly value: string;
  readonly nth: number | undefined;
}

let orders: ReadonlyMap<string, Order> | undefined;
const hits = new Map<Failpoint, number>();

function hit(name: Failpoint): true | undefined {
  const { CR_FP, CR_FP_HITS } = process.env;
  if (CR_FP === undefined && CR_FP_HITS === undefined) return undefined;
  orders ??= parseOrders(CR_FP ?? '');
  const count = (hits.get(name) ?? 0) + 1;
  hits.set(name, count);
  if (CR_FP_HITS !== undefined && count === 1) appendFileSync(CR_FP_HITS, `${name}\n`);
  const order = orders.get(name);
  return order && (order.nth === undefined || order.nth === count) ? act(name, order) : undefined;
}

function act(name: Failpoint, { action, value }: Order): true | undefined {
  switch (action) {
    case 'exit9':
      process.kill(process.pid, 'SIGKILL');
      return block(Number.POSITIVE_INFINITY);
    case 'stop':
      process.kill(process.pid, 'SIGSTOP');
      return undefined;
    case 'sleep':
      return block(Number(value));
    case 'throw':
      throw Object.assign(new Error(`failpoint ${name}`), { code: value || 'EIO' });
    default:
      return true;
  }
}

/** The whole process waits, as it does for a slow disk. */
function block(ms: number): undefined {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

const actions = /^(?:exit9|stop|sleep=\d+|throw(?:=[A-Z]+)?|drop)$/;

/** A word that is none is a defect of the test: it throws. */
function parseOrders(text: string): ReadonlyMap<string, Order> {
  const parsed = new Map<string, Order>();
  for (const word of text.split(',').filter(Boolean)) {
    const [name = '', action = '', nth] = word.split(':');
    const known = (failpoints as readonly string[]).includes(name) && actions.test(action);
    if (!known || (nth !== undefined && !/^[1-9]\d*$/.test(nth)))
      throw new Error(`CR_FP: ${word} is no failpoint`);
    const [verb = '', value = ''] = action.split('=');
    parsed.set(name, { action: verb, value, nth: nth === undefined ? undefined : Number(nth) });
  }
  return parsed;
}
