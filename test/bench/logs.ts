import { spawn } from 'node:child_process';
import { appendFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ControllerClient } from '@codex-remote/client';
import { controllerPaths } from '@codex-remote/platform';
import { streamId } from '@codex-remote/protocol/wire';
import { encodeSample } from '../../agent/src/logs/time-samples.ts';
import { Cli, cliProgram } from '../src/lab/index.ts';
import { round, sideBySide, summarise, timeProcess } from './measure.ts';
import { agentPid, residentMb } from './processes.ts';

const hugeBytes = 20 * 1024 ** 3;
const rounds = 10;
const lines = 300;
/** Between two lines: each finds everybody asleep. */
const pauseMs = 20;

/** A log of 20 GB (sparse) beside one of a few lines, asked for the same by whole commands. */
export async function hugeLog(): Promise<unknown> {
  const cli = await Cli.open();
  try {
    await cli.json(['machine', 'up', 'local']);
    const home = String((await cli.json(['machine', 'show', 'local'])).agent_home);
    for (const id of ['small', 'huge'])
      await cli.lines(['exec', 'run', '-m', 'local', '--id', id, '--brief', '--cmd', 'seq 200']);
    const log = join(home, 'execs/huge/stdout');
    await truncate(log, hugeBytes);
    const end = `\n${Array.from({ length: 200 }, (_, i) => `${i + 1}\n`).join('')}`;
    await appendFile(log, end);
    // As an agent would have noted it: the lines at the end were written after `then`.
    const then = Date.now() - 5_000;
    const samples = [
      { stream: streamId.stdout, offset: hugeBytes + 1, epochMs: then },
      { stream: streamId.stdout, offset: hugeBytes + end.length, epochMs: then + 1_000 },
    ];
    await appendFile(join(home, 'execs/huge/times'), Buffer.concat(samples.map(encodeSample)));
    const logs = (id: string, ...more: string[]) => [
      'exec',
      'logs',
      '--id',
      id,
      '--stream',
      'stdout',
      ...more,
    ];
    const time = (id: string, ...more: string[]) => timeProcess(cliProgram, logs(id, ...more), cli.env);
    const before = await residentMb(await agentPid(cli));
    const figures = await sideBySide(rounds, {
      small_tail: () => time('small', '--tail', '100'),
      huge_tail: () => time('huge', '--tail', '100'),
      small_tail_bytes: () => time('small', '--tail-bytes', '400'),
      huge_tail_bytes: () => time('huge', '--tail-bytes', '400'),
      small_from: () => time('small', '--from', '400'),
      huge_from: () => time('huge', '--from', String(hugeBytes + 400)),
      small_since: () => time('small', '--since', '1h'),
      huge_since: () => time('huge', '--since', new Date(then + 1).toISOString()),
    });
    const ratio = (what: string) => ({
      value: round((figures[`huge_${what}`]?.median ?? NaN) / (figures[`small_${what}`]?.median ?? NaN)),
      goal: '<= 1.2',
    });
    return {
      figures,
      tail_ratio: ratio('tail'),
      tail_bytes_ratio: ratio('tail_bytes'),
      from_ratio: ratio('from'),
      since_ratio: ratio('since'),
      agent_growth_mb: { value: round((await residentMb(await agentPid(cli))) - before), goal: '<= 10' },
    };
  } finally {
    await cli.close();
  }
}

/** From the write of a line by a job to the line at a reader: a client that stays, and `exec logs --follow` as a process. */
export async function followerLatency(): Promise<unknown> {
  const cli = await Cli.open();
  try {
    await cli.json(['machine', 'up', 'local']);
    const client = new ControllerClient({ socket: controllerPaths(cli.env).socket });
    const inClient: number[] = [];
    await startTicker(cli, 'ticks-client');
    for await (const record of client.logs({ id: 'ticks-client' }, { streams: ['stdout'], follow: true }))
      if (record.kind === 'data') note(inClient, Buffer.from(record.bytes).toString('latin1'));
    const inCommand: number[] = [];
    await startTicker(cli, 'ticks-command');
    const follower = spawn(cliProgram, ['exec', 'logs', '--id', 'ticks-command', '--follow'], {
      env: cli.env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    for await (const line of createInterface({ input: follower.stdout })) {
      const record = JSON.parse(line) as { type: string; line?: string };
      if (record.type === 'log') note(inCommand, `${record.line}\n`);
    }
    return {
      client: { ...summarise(inClient, 'ms'), goal: 'median <= 3' },
      command: { ...summarise(inCommand, 'ms'), goal: 'median <= 3' },
    };
  } finally {
    await cli.close();
  }
}

/** A job whose lines are the time, on the clock that all processes of a host share, at which each was written. */
async function startTicker(cli: Cli, id: string): Promise<void> {
  const program = `let left = ${lines}; setTimeout(function tick() {
    require('fs').writeSync(1, process.hrtime.bigint() + '\\n');
    if (--left > 0) setTimeout(tick, ${pauseMs});
  }, 1000);`;
  await cli.json(['exec', 'start', '-m', 'local', '--id', id, '--', process.execPath, '-e', program]);
}

function note(sample: number[], text: string): void {
  const now = process.hrtime.bigint();
  for (const line of text.split('\n').filter(Boolean)) sample.push(Number(now - BigInt(line)) / 1e6);
}
