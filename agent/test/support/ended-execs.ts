import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hostId, ProcessTable } from '@codex-remote/platform';
import type { ExecEnded } from '@codex-remote/protocol/schema';
import { encodeLine } from '../../src/folder/journal.ts';
import type { StoredSpec } from '../../src/folder/stored.ts';

export interface EndedExecs {
  /** `<home>/execs`. */
  readonly execs: string;
  readonly count: number;
  /** Ids are `<prefix>-<number>`. */
  readonly prefix?: string;
  readonly acknowledged: boolean;
  /** Said of each, not written. */
  readonly stdoutBytes?: number;
}

/** Folders as an agent leaves them that ran `count` execs, `ended-0` the oldest. Returns their ends. */
export function writeEndedExecs(options: EndedExecs): ExecEnded[] {
  const { execs, count, prefix = 'ended', acknowledged, stdoutBytes = 0 } = options;
  mkdirSync(execs, { recursive: true, mode: 0o700 });
  const began = Date.now() - count;
  const bootId = new ProcessTable().bootId();
  return Array.from({ length: count }, (_, i) => {
    const id = `${prefix}-${i}`;
    const spec: StoredSpec = {
      version: 1,
      exec_id: id,
      digest: 'd'.repeat(64),
      mark: 'm'.repeat(32),
      host_id: hostId(),
      boot_id: bootId,
      command: 'true',
      cwd: '/',
      env_names: [],
      merge: false,
      mode: 'run',
      accepted_ms: began + i,
      warnings: [],
    };
    const at = new Date(began + i).toISOString();
    const end: ExecEnded = {
      exec_id: id,
      digest: spec.digest,
      mode: 'run',
      command: 'true',
      cwd: '/',
      accepted_at: at,
      started_at: at,
      stdout_bytes: stdoutBytes,
      stderr_bytes: 0,
      status: 'finished',
      reason: 'exited',
      exit_code: 0,
      ended_at: at,
      duration_ms: 1,
    };
    const identity = {
      shim: { pid: 1 << 22, start: 1 },
      started_ms: began + i,
      started_uptime_ms: 1,
    };
    const folder = join(execs, id);
    mkdirSync(folder);
    const lines = [
      { spec },
      { identity },
      { end },
      ...(acknowledged ? [{ acknowledged: true as const }] : []),
    ];
    writeFileSync(join(folder, 'journal'), lines.map(encodeLine).join(''));
    for (const name of ['exit', 'shim', 'stdout', 'stderr']) writeFileSync(join(folder, name), '');
    return end;
  });
}
