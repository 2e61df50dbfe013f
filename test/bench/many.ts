import { ControllerClient } from '@codex-remote/client';
import { controllerPaths, newId } from '@codex-remote/platform';
import type { ExecSpec } from '@codex-remote/protocol/schema';
import { Cli, cliProgram } from '../src/lab/index.ts';
import { type Figure, round, summarise, timeProcess } from './measure.ts';
import { agentPid, memoryBelow, residentMb } from './processes.ts';

const execs = 500;
const startsAtOnce = 8;
const rounds = 200;

/** Many execs on one machine at once: what each holds, how fast they start, and what a list of them takes. */
export async function manyExecs(): Promise<unknown> {
  const cli = await Cli.open();
  try {
    await cli.json(['machine', 'up', 'local']);
    const client = clientOf(cli);
    const ids = Array.from({ length: execs }, () => newId(Date.now()));
    const began = performance.now();
    await inTurns(ids, startsAtOnce, (id) => start(client, id, ['sleep', '600']));
    const seconds = (performance.now() - began) / 1000;
    const agent = await agentPid(cli);
    const keepers = await memoryBelow(agent, /^(sh|cat)$/);
    const list: number[] = [];
    for (let i = 0; i < 20; i++) list.push(await timeProcess(cliProgram, ['exec', 'list'], cli.env));
    const figures = {
      execs,
      starts_per_second: { value: round(execs / seconds), goal: '>= 120' },
      keepers_pss_mb_each: { value: round(keepers / 1024 / execs), goal: '<= 2' },
      agent_rss_mb: { value: await residentMb(agent), goal: '<= 110' },
      exec_list: { ...summarise(list, 'ms'), goal: 'median <= 50' },
    };
    await inTurns(ids, 50, (id) =>
      client.cancelExec({ id, machine: 'local' }, { signal: 'KILL', grace_ms: 0 }, 0),
    );
    return figures;
  } finally {
    await cli.close();
  }
}

/** Starts beside an exec that writes as fast as it can and is followed, to starts on an idle machine. */
export async function startsBesideFlood(): Promise<unknown> {
  const cli = await Cli.open();
  const following = new AbortController();
  try {
    await cli.json(['machine', 'up', 'local']);
    const client = clientOf(cli);
    const once = async (): Promise<number> => {
      const began = performance.now();
      await start(client, newId(Date.now()), ['true']);
      return performance.now() - began;
    };
    const sample = async (): Promise<Figure & { p99: number }> => {
      const times: number[] = [];
      for (let i = 0; i < rounds; i++) times.push(await once());
      return {
        ...summarise(times, 'ms'),
        p99: round(times.sort((a, b) => a - b)[Math.floor(rounds * 0.99)] ?? Number.NaN),
      };
    };
    await sample();
    const idle = await sample();
    await start(client, 'flood', ['cat', '/dev/zero']);
    const follower = follow(client, following.signal);
    const beside = await sample();
    following.abort();
    const bytes = await follower;
    await client.cancelExec({ id: 'flood', machine: 'local' }, { signal: 'KILL', grace_ms: 0 }, 0);
    return {
      idle,
      beside,
      followed_mb: round(bytes / 1e6),
      p99_ratio: { value: round(beside.p99 / idle.p99), goal: '<= 3' },
    };
  } finally {
    following.abort();
    await cli.close();
  }
}

function clientOf(cli: Cli): ControllerClient {
  return new ControllerClient({ socket: controllerPaths(cli.env).socket });
}

async function start(client: ControllerClient, id: string, argv: string[]): Promise<void> {
  const spec: ExecSpec = {
    exec_id: id,
    command: { kind: 'argv', argv },
    env: {},
    stdin: false,
    merge: false,
    mode: 'async',
  };
  await client.startExec({ machine: 'local', spec, connectWaitMs: 0 });
}

async function follow(client: ControllerClient, signal: AbortSignal): Promise<number> {
  let bytes = 0;
  try {
    for await (const record of client.logs(
      { id: 'flood' },
      { streams: ['stdout'], follow: true },
      { signal },
    )) {
      if (record.kind === 'data') bytes += record.bytes.byteLength;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return bytes;
}

async function inTurns<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const left = [...items];
  const worker = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}
