import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Request } from './clients.ts';
import type { MachineName, Step, Story } from './plan.ts';
import { Random } from './random.ts';

/** The same id with this is the same request; with the other one it is a conflict. */
export type Variant = 'a' | 'b';

/** Where a run keeps what its jobs need. */
export interface Places {
  readonly folder: string;
  readonly truth: string;
}

/** The request of a step: its command line, and what it is about. Undefined for what is no client's. */
export function requestOf(story: Story, step: Step, places: Places): Request | undefined {
  const about = { story: story.id, machine: story.machine, kind: step.kind };
  const named = step.named ? ['-m', story.machine] : [];
  const id = ['--id', story.id, ...named];
  switch (step.kind) {
    case 'run':
    case 'start':
      return { ...about, args: startArgs(step.kind, story, 'a', places) };
    case 'altered':
      return { ...about, args: startArgs('start', story, 'b', places) };
    case 'result':
      return { ...about, args: ['exec', 'result', ...id] };
    case 'wait':
      return { ...about, args: ['exec', 'wait', ...id, '--max-wait', '20s'] };
    case 'watch':
      return { ...about, args: ['exec', 'watch', ...id] };
    case 'follow':
      return { ...about, args: ['exec', 'logs', ...id, '--follow'] };
    case 'read_json': {
      const { stream } = step;
      return { ...about, stream, args: ['exec', 'logs', ...id, '--stream', stream, '--from', '0'] };
    }
    case 'follow_raw': {
      const { stream } = step;
      return {
        ...about,
        stream,
        args: ['exec', 'logs', ...id, '--raw', '--stream', stream, '--from', '0', '--follow'],
      };
    }
    case 'cancel':
      return {
        ...about,
        args: ['exec', 'cancel', ...id, '--signal', step.signal, '--grace', `${step.graceMs}ms`],
      };
    case 'list':
      return { kind: 'list', args: ['exec', 'list', '--limit', '1000', ...named] };
    case 'kill_shim':
      return undefined;
  }
}

/** What an answer is compared with once nothing happens any more. */
export function lastRequests({ id, machine }: Story): Request[] {
  const about = { story: id, machine };
  const read = (stream: 'stdout' | 'stderr'): Request => ({
    ...about,
    kind: 'last_read',
    stream,
    args: ['exec', 'logs', '--id', id, '--raw', '--stream', stream, '--from', '0'],
  });
  return [
    { ...about, kind: 'last_result', args: ['exec', 'result', '--id', id] },
    read('stdout'),
    read('stderr'),
  ];
}

export function machineRequest(verb: 'up' | 'down' | 'check', machine: MachineName): Request {
  return { kind: `machine_${verb}`, machine, args: ['machine', verb, '-m', machine] };
}

export function scriptPath({ folder }: Places, story: Story): string {
  return join(folder, 'inputs', `${story.id}.sh`);
}

export function inputPath({ folder }: Places, story: Story): string {
  return join(folder, 'inputs', `${story.id}.in`);
}

/** The job's command: a shell and its words. */
export function jobWords(story: Story, variant: Variant, { folder, truth }: Places): string[] {
  const { shape } = story;
  if (shape.kind === 'missing') return [`/no/such/program-${variant}`];
  const count = 'count' in shape ? shape.count : 0;
  const words = [truth, story.id, variant, shape.kind, String(count), String(shape.code)];
  return ['/bin/sh', join(folder, 'job.sh'), ...words];
}

function startArgs(verb: 'run' | 'start', story: Story, variant: Variant, places: Places): string[] {
  const { shape, id, machine } = story;
  const words = jobWords(story, variant, places);
  return [
    'exec',
    verb,
    '-m',
    machine,
    '--id',
    id,
    ...(shape.timeoutMs === undefined ? [] : ['--timeout', `${shape.timeoutMs}ms`]),
    ...(shape.queued ? ['--queue', 'turns'] : []),
    ...(shape.kind === 'echo' ? ['--stdin', inputPath(places, story)] : []),
    ...command(
      shape.way === 'script' && variant === 'b' ? 'cmd' : shape.way,
      words,
      scriptPath(places, story),
    ),
  ];
}

function command(way: Story['shape']['way'], words: readonly string[], script: string): string[] {
  if (way === 'argv') return ['--', ...words];
  return way === 'cmd' ? ['--cmd', `exec ${words.join(' ')}`] : ['--script', script];
}

/** What a job is sent as stdin, from the plan alone. */
export function inputOf({ shape }: Story): Uint8Array | undefined {
  return shape.kind === 'echo' ? new Random(shape.inputSeed).bytes(shape.count) : undefined;
}

/** Writes what clients hand over as files: each job's script and stdin. */
export async function writeInputs(stories: readonly Story[], places: Places): Promise<void> {
  for (const story of stories) {
    const input = inputOf(story);
    if (input) await writeFile(inputPath(places, story), input);
    if (story.shape.way === 'script')
      await writeFile(
        scriptPath(places, story),
        `#!/bin/sh\nexec ${jobWords(story, 'a', places).join(' ')}\n# ${'a script can be long '.repeat(2_000)}\n`,
      );
  }
}
