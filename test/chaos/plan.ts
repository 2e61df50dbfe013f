import { Random } from './random.ts';
import { type Shape, shapeOf } from './shape.ts';

/** This host, a user behind an SSH tunnel, and one whose sshd refuses to forward. */
export const machineNames = ['local', 'tunnel', 'bridge'] as const;
export type MachineName = (typeof machineNames)[number];
/** Those with a network in between. */
export type RemoteName = Exclude<MachineName, 'local'>;

/** What a client asks about one job. `altered`: the job's id with another command. */
export type StepKind =
  | 'run'
  | 'start'
  | 'altered'
  | 'result'
  | 'wait'
  | 'watch'
  | 'follow'
  | 'read_json'
  | 'follow_raw'
  | 'cancel'
  | 'list'
  | 'kill_shim';

/** How the client's own process fares: it is left alone, killed, stopped for a while, or nobody reads what it prints for a while. */
export type Caller =
  | { readonly kind: 'stays' }
  | { readonly kind: 'killed' | 'interrupted'; readonly afterMs: number }
  | { readonly kind: 'stopped' | 'unread'; readonly afterMs: number; readonly forMs: number };

export interface Step {
  /** After the beginning of its story. */
  readonly afterMs: number;
  readonly kind: StepKind;
  readonly caller: Caller;
  /** The command line names the machine. */
  readonly named: boolean;
  readonly stream: 'stdout' | 'stderr';
  readonly signal: 'INT' | 'TERM' | 'KILL';
  readonly graceMs: number;
  /** `kill_shim`: only the outer shell, or the waiter below it too. */
  readonly whole: boolean;
}

/** One job and everything that is asked about it. Steps of all stories run side by side. */
export interface Story {
  readonly id: string;
  readonly machine: MachineName;
  readonly atMs: number;
  readonly shape: Shape;
  readonly steps: readonly Step[];
}

export type Fault =
  | { readonly kind: 'kill_controller' | 'restart_controller' }
  | { readonly kind: 'stop_controller'; readonly forMs: number }
  | { readonly kind: 'kill_agent' | 'take_down'; readonly machine: MachineName; readonly backAfterMs: number }
  | { readonly kind: 'stop_agent'; readonly machine: MachineName; readonly forMs: number }
  | { readonly kind: 'bring_up' | 'check'; readonly machine: MachineName }
  | { readonly kind: 'blackhole'; readonly machine: RemoteName; readonly forMs: number }
  | { readonly kind: 'reset' | 'drop_sessions'; readonly machine: RemoteName };

export interface TimedFault {
  readonly atMs: number;
  readonly fault: Fault;
}

export interface Plan {
  readonly seed: number;
  readonly durationMs: number;
  readonly stories: readonly Story[];
  readonly faults: readonly TimedFault[];
}

/** Means: a story every so often, and a fault. */
const storyEveryMs = 1_000;
const faultEveryMs = 1_700;
/** No story begins in the last part of a run: its steps are to meet faults. */
const lastStoryMs = 4_000;

/** Everything that will be done, from the seed alone. What it meets depends on timing. */
export function makePlan(seed: number, minutes: number): Plan {
  const random = new Random(seed);
  const durationMs = Math.round(minutes * 60_000);
  const [forStories, forFaults] = [random.fork(), random.fork()];
  const times = momentsUntil(forStories, Math.max(1, durationMs - lastStoryMs), storyEveryMs);
  const stories = times
    .map((atMs, index) => storyAt(forStories.fork(), atMs, index))
    .map((story) => ({
      ...story,
      steps: story.steps.filter(({ afterMs }) => story.atMs + afterMs < durationMs),
    }));
  const faults = momentsUntil(forFaults, durationMs, faultEveryMs).map((atMs) => ({
    atMs,
    fault: someFault(forFaults.fork()),
  }));
  return { seed, durationMs, stories, faults };
}

function momentsUntil(random: Random, endMs: number, everyMs: number): number[] {
  const moments: number[] = [];
  for (let at = random.int(0, everyMs); at < endMs; at += random.int(everyMs / 4, (everyMs * 7) / 4))
    moments.push(at);
  return moments;
}

function storyAt(random: Random, atMs: number, index: number): Story {
  const shape = shapeOf(random);
  return {
    id: `j${String(index).padStart(4, '0')}`,
    machine: random.pick(machineNames),
    atMs,
    shape,
    steps: stepsOf(random, shape),
  };
}

function stepsOf(random: Random, shape: Shape): Step[] {
  const steps: Step[] = [];
  const add = (kind: StepKind, fromMs: number, toMs: number, more: Partial<Step> = {}): void =>
    void steps.push({
      afterMs: random.int(fromMs, toMs),
      kind,
      caller: kind === 'cancel' || kind === 'kill_shim' ? { kind: 'stays' } : someCaller(random),
      named: random.chance(0.5),
      stream: random.chance(0.7) ? 'stdout' : 'stderr',
      signal: random.weighted({ TERM: 6, INT: 2, KILL: 2 }),
      graceMs: random.pick([300, 1_000, 3_000]),
      whole: random.chance(0.3),
      ...more,
    });
  add(random.chance(0.45) ? 'run' : 'start', 0, 0);
  // A caller whose answer was lost sends again; sometimes two of them do at once.
  if (random.chance(0.4)) add(random.chance(0.3) ? 'run' : 'start', 0, 2_500);
  if (random.chance(0.15)) add('start', 5_000, 15_000, { caller: { kind: 'stays' } });
  if (random.chance(0.2)) add('altered', 0, 5_000, { caller: { kind: 'stays' } });
  for (const kind of ['follow', 'follow_raw', 'watch'] as const)
    if (random.chance(0.35)) add(kind, 50, 3_000);
  if (random.chance(0.35)) add('wait', 50, 4_000);
  for (let looks = random.int(1, 3); looks > 0; looks--) add('result', 50, 12_000);
  if (random.chance(0.3)) add('read_json', 3_000, 15_000);
  if (random.chance(0.12)) add('list', 100, 8_000);
  if (shape.kind === 'sleep' || shape.kind === 'stubborn' || shape.kind === 'polite')
    add('cancel', 1_000, 9_000);
  else if (random.chance(0.12)) add('cancel', 0, 2_500);
  if (random.chance(0.15)) add('cancel', 500, 9_000);
  if (random.chance(0.08)) add('kill_shim', 300, 4_000);
  return steps.sort((a, b) => a.afterMs - b.afterMs);
}

function someCaller(random: Random): Caller {
  const kind = random.weighted({ stays: 70, killed: 14, interrupted: 4, stopped: 5, unread: 7 });
  if (kind === 'stays') return { kind };
  const afterMs = random.int(20, 2_000);
  return kind === 'killed' || kind === 'interrupted'
    ? { kind, afterMs }
    : { kind, afterMs, forMs: random.int(200, 6_000) };
}

/** Mostly short; sometimes over the two heartbeats after which a side takes the other for gone. */
function someWhile(random: Random): number {
  return random.chance(0.25) ? random.int(10_500, 14_000) : random.int(100, 4_000);
}

function someFault(random: Random): Fault {
  const machine = random.pick(machineNames);
  const remote = random.pick(['tunnel', 'bridge'] as const);
  const kind = random.weighted({
    kill_controller: 5,
    restart_controller: 1,
    stop_controller: 2,
    kill_agent: 6,
    take_down: 2,
    stop_agent: 3,
    bring_up: 3,
    check: 2,
    blackhole: 3,
    reset: 5,
    drop_sessions: 1,
  });
  switch (kind) {
    case 'kill_controller':
    case 'restart_controller':
      return { kind };
    case 'stop_controller':
      return { kind, forMs: someWhile(random) };
    case 'kill_agent':
    case 'take_down':
      return { kind, machine, backAfterMs: random.int(0, 4_000) };
    case 'stop_agent':
      return { kind, machine, forMs: someWhile(random) };
    case 'bring_up':
    case 'check':
      return { kind, machine };
    case 'blackhole':
      return { kind, machine: remote, forMs: someWhile(random) };
    case 'reset':
    case 'drop_sessions':
      return { kind, machine: remote };
  }
}
