import type { Answer } from './answers.ts';
import { checkReadings } from './check-readings.ts';
import type { Evidence, Violation } from './evidence.ts';
import type { Operation } from './history.ts';
import type { Story } from './plan.ts';
import { isEndless } from './shape.ts';
import type { Truth } from './truth.ts';

type Rule = (evidence: Evidence) => Iterable<string | readonly [what: string, ...operations: Operation[]]>;

/** Each rule says what is wrong; all of them are asked. Pure. */
const rules: Readonly<Record<string, Rule>> = {
  starts_at_most_once: startsOnce,
  accepted_is_started: acceptedStarts,
  exit_code_is_the_jobs_own: exitCodes,
  lost_only_where_proof_is_gone: lostReasons,
  answers_never_go_back: order,
  status_of_the_client: clientStatus,
  conflict_only_for_another_request: conflicts,
  refusals_are_true: refusals,
  cancel_leaves_nothing: cancels,
  readers_get_the_bytes: checkReadings,
};

/** A wrong answer is often given again and again: so many of a rule are enough to find the first. */
const shownPerRule = 5;

export function checkJob(evidence: Evidence): Violation[] {
  const found: Violation[] = [];
  for (const [rule, check] of Object.entries(rules)) {
    let left = shownPerRule;
    for (const one of check(evidence)) {
      const [what, ...operations] = typeof one === 'string' ? [one] : one;
      found.push({ rule, story: evidence.story.id, operations: operations.map(({ n }) => n), what });
      if (--left === 0) break;
    }
  }
  return found;
}

function* startsOnce({ truth, story, input }: Evidence): ReturnType<Rule> {
  if (truth.starts.length > 1)
    yield `started ${truth.starts.length} times: ${truth.starts.map(({ variant, pid }) => `${variant} as ${pid}`).join(', ')}`;
  if (story.shape.kind === 'missing' && truth.starts.length > 0)
    yield 'a program that is missing has started';
  if (input && truth.exitCode !== undefined && !Buffer.from(truth.stdout).equals(input))
    yield `its stdin was ${truth.stdout.byteLength} bytes that differ from the ${input.byteLength} that were sent`;
}

/** What was said to run or to have run has started, but where something ended it before its first line. */
function* acceptedStarts({ truth, answers, shimKilled }: Evidence): ReturnType<Rule> {
  if (truth.starts.length > 0) return;
  for (const { operation, status, reason, exitCode } of answers) {
    if (status !== 'finished' || reason !== 'exited') continue;
    if (!shimKilled) yield [`exited with ${exitCode} and never started`, operation];
  }
}

function* exitCodes({ story, truth, answers, printed }: Evidence): ReturnType<Rule> {
  const cancelled = printed.some(({ operation }) => operation.kind === 'cancel');
  for (const { operation, status, exitCode, reason } of answers) {
    if (status !== 'finished') {
      if (exitCode !== null) yield [`${status} with an exit code: ${exitCode}`, operation];
      continue;
    }
    // The rows of a list have no reason.
    if (reason === undefined && operation.kind !== 'list' && operation.kind !== 'last_list')
      yield ['finished without a reason', operation];
    if (exitCode === null) {
      yield ['finished without an exit code', operation];
      continue;
    }
    const allowed = possibleCodes(story, truth, reason, cancelled);
    if (!allowed.has(exitCode)) {
      const own = truth.exitCode === undefined ? 'wrote none' : `wrote ${truth.exitCode}`;
      yield [`exit code ${exitCode} (${reason}), but the job ${own}`, operation];
    }
    if (
      (reason === 'cancelled' && !cancelled) ||
      (reason === 'timeout' && story.shape.timeoutMs === undefined)
    )
      yield [`${reason}, and nobody asked for it`, operation];
  }
}

/** The codes that can be true of a job that has ended. */
function possibleCodes(
  { shape }: Story,
  truth: Truth,
  reason: string | undefined,
  cancelled: boolean,
): ReadonlySet<number> {
  if (shape.kind === 'missing') return new Set([127]);
  const codes = new Set<number>();
  if (truth.exitCode !== undefined) codes.add(truth.exitCode);
  // Ended from outside, also between its last note and its end.
  const ended = cancelled || shape.timeoutMs !== undefined;
  if (ended && reason !== 'exited' && reason !== 'failed_to_start')
    for (const code of [128 + 2, 128 + 9, 128 + 15]) codes.add(code);
  return codes;
}

function* lostReasons({ truth, answers, shimKilled }: Evidence): ReturnType<Rule> {
  for (const { operation, status, reason, safeToRetry } of answers) {
    if (status !== 'lost') continue;
    if (reason === 'not_started' && truth.starts.length > 0)
      yield ['lost as not started, and it has started', operation];
    if (reason !== undefined && reason !== 'not_started' && !shimKilled)
      yield [`lost as ${reason}, and nobody killed its shim`, operation];
    if (safeToRetry === true && truth.starts.length > 0)
      yield ['safe to retry, and it has started', operation];
  }
}

const rank: Readonly<Record<Answer['status'], number>> = { queued: 0, running: 1, finished: 2, lost: 2 };

/** Of two answers of which one was there before the other was asked for, the later one knows at least as much. */
function* order({ answers, truth }: Evidence): ReturnType<Rule> {
  const pids = new Set(answers.flatMap(({ pid }) => pid ?? []));
  if (pids.size > 1) yield `ran as ${[...pids].join(' and ')}`;
  const [start] = truth.starts;
  if (start && pids.size === 1 && !pids.has(start.pid))
    yield `said to run as ${[...pids][0]}, and ran as ${start.pid}`;
  for (const before of answers) {
    for (const after of answers) {
      if (before.toMs >= after.fromMs || isOlder(after, before)) continue;
      const both = [before.operation, after.operation] as const;
      if (rank[after.status] < rank[before.status]) yield [`${after.status} after ${before.status}`, ...both];
      else if (rank[before.status] === 2 && describeEnd(before, after) !== describeEnd(after, before))
        yield [`${describeEnd(after, before)} after ${describeEnd(before, after)}`, ...both];
      if (before.bytes && after.bytes)
        for (const stream of ['stdout', 'stderr'] as const)
          if (after.bytes[stream] < before.bytes[stream])
            yield [`${stream} has shrunk from ${before.bytes[stream]} to ${after.bytes[stream]}`, ...both];
    }
  }
}

/** An answer for a machine that is away says how old it is: it need not know what another one knew later. */
function isOlder(answer: Answer, than: Answer): boolean {
  return answer.asOfMs !== undefined && answer.asOfMs <= than.toMs;
}

/** The rows of a list have no reason: nothing is compared with what is not said. */
function describeEnd({ status, exitCode, reason }: Answer, other: Answer): string {
  return `${status} ${exitCode}${reason === undefined || other.reason === undefined ? '' : ` ${reason}`}`;
}

/** The status of `run`, `watch` and `wait` is the job's own, and 0 is never said without proof. */
function* clientStatus({ printed }: Evidence): ReturnType<Rule> {
  for (const { operation, answers, lastType, refusal, unreadable } of printed) {
    const { kind, status, killed, signal, interrupted } = operation;
    if (operation.overdue) yield [`${kind} does not come to an end`, operation];
    if (killed) continue;
    if (status === undefined && !interrupted) yield [`${kind} died of ${signal}`, operation];
    if (unreadable !== undefined) yield [`${kind} printed ${unreadable}`, operation];
    if (kind !== 'run' && kind !== 'watch' && kind !== 'wait') {
      const failed = refusal !== undefined || answers.some(({ leftoverPids }) => leftoverPids.length > 0);
      if (!interrupted && (status === 0) === failed)
        yield [
          `${kind} exits with ${status}${failed ? ' after a failure' : ' without a failure'}`,
          operation,
        ];
      continue;
    }
    const last = answers.at(-1);
    const expected = refusal !== undefined ? 255 : statusFor(last, lastType);
    // Told to go before it had said anything.
    if (interrupted && last === undefined && refusal === undefined) continue;
    if (status !== expected)
      yield [`${kind} exits with ${status}, and what it printed means ${expected}`, operation];
    if (kind !== 'wait' && refusal === undefined && lastType !== 'finished' && lastType !== 'detached')
      yield [`${kind} printed ${lastType ?? 'nothing'} last`, operation];
  }
}

function statusFor(last: Answer | undefined, lastType: string | undefined): number | undefined {
  if (lastType === 'detached') return 75;
  if (last === undefined) return undefined;
  if (last.status === 'queued' || last.status === 'running') return 75;
  if (last.status === 'lost' || last.exitCode === null) return 255;
  if (last.reason === 'timeout') return 124;
  return last.reason === 'cancelled' && last.exitCode === 0 ? 130 : last.exitCode;
}

/** One of the two requests has the id; only the other one is refused. */
function* conflicts({ printed, truth }: Evidence): ReturnType<Rule> {
  const starts = printed.filter(({ operation }) => isStart(operation));
  const ran = truth.starts[0]?.variant;
  for (const { operation, refusal, answers } of starts) {
    const variant = variantOf(operation);
    const other = starts.some(
      (one) => variantOf(one.operation) !== variant && one.operation.beganMs < operation.endedMs,
    );
    if (refusal?.code === 'conflict' && !other)
      yield ['a conflict, and nobody had sent another request', operation];
    if (refusal?.code === 'conflict' && ran === variant)
      yield ['a conflict, and it is this request that ran', operation];
    if (ran !== undefined && ran !== variant && answers.length > 0)
      yield [`accepted, and the request that ran is the other one`, operation];
  }
}

/** What can go wrong in such a run, without anything being wrong with us. */
const passing: ReadonlySet<string> = new Set([
  'machine_offline',
  'connection_reset',
  'controller_unreachable',
  'controller_starting',
  'shutting_down',
  'stream_cut',
  'conflict',
  'exec_not_found',
]);

function* refusals({ printed, answers, truth, story }: Evidence): ReturnType<Rule> {
  const starts = printed.filter(({ operation }) => isStart(operation));
  const accepted = answers.filter(({ operation }) => operation.kind !== 'list');
  for (const { operation, refusal } of printed) {
    if (!refusal || operation.killed) continue;
    const { kind } = operation;
    if (!passing.has(refusal.code)) yield [`${kind}: ${refusal.code}: ${refusal.message}`, operation];
    if (refusal.code === 'exec_not_found' && !refusal.away.includes(story.machine)) {
      const known = accepted.find(({ toMs }) => toMs < operation.beganMs);
      if (known) yield [`${kind} does not find it, and it was known`, known.operation, operation];
    }
    if (isStart(operation) && refusal.sent === undefined)
      yield [`${kind} does not say whether it was sent`, operation];
    if (refusal.sent === 'no' && isUnsentLie(operation, starts, truth))
      yield [`${kind} says that nothing was sent, and it has started`, operation];
  }
}

/** Nobody else has sent this request, and it ran. */
function isUnsentLie(operation: Operation, starts: Evidence['printed'], truth: Truth): boolean {
  const variant = variantOf(operation);
  const same = starts.filter((one) => variantOf(one.operation) === variant);
  return isStart(operation) && same.length === 1 && truth.starts.some((start) => start.variant === variant);
}

function* cancels({ printed, story }: Evidence): ReturnType<Rule> {
  for (const { operation, answers } of printed) {
    if (operation.kind !== 'cancel') continue;
    for (const { leftoverPids, status } of answers) {
      if (leftoverPids.length > 0) yield [`left ${leftoverPids.join(', ')}`, operation];
      if (isEndless(story.shape) && status === 'running') yield ['cancelled, and still running', operation];
    }
  }
}

function isStart({ kind }: Operation): boolean {
  return kind === 'run' || kind === 'start' || kind === 'altered';
}

function variantOf({ kind }: Operation): 'a' | 'b' {
  return kind === 'altered' ? 'b' : 'a';
}
