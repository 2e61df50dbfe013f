import { type Answer, oneLine } from '@codex-remote/client';
import type { ArtifactsState, ExecView } from '@codex-remote/protocol/schema';

/** `1.2 s`, `3 m 20 s`, `2 h 5 m`. */
export function shownDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} m`;
}

/** Lines for people: what was put into one of them makes no other. */
export function textOf(...lines: readonly string[]): string {
  return lines.map(oneLine).join('\n');
}

/** How an exec stands, on one line. */
export function oneLineOf(view: ExecView): string {
  return oneLine(standing(view));
}

function standing({ machine, state }: ExecView): string {
  const name = `${state.exec_id} on ${machine}`;
  switch (state.status) {
    case 'queued':
      return `${name}: queued${placeText(state)}`;
    case 'running':
      return `${name}: running${state.started_at === undefined ? '' : ` since ${state.started_at}`}`;
    case 'lost':
      return `${name}: lost (${state.reason})${state.safe_to_retry ? ', it never ran' : ''}${state.detail === undefined ? '' : `: ${state.detail}`}`;
    case 'finished': {
      if (state.reason === 'cancelled' && state.started_at === undefined)
        return `${name}: cancelled before its start`;
      const how =
        state.reason === 'exited'
          ? `exit ${state.exit_code}`
          : `${state.reason.replaceAll('_', ' ')}, exit ${state.exit_code}`;
      const why = state.spawn_error === undefined ? '' : `: ${state.spawn_error}`;
      return `${name}: ${how}${state.signal === undefined ? '' : ` (${state.signal})`} after ${shownDuration(state.duration_ms)}${why}`;
    }
  }
}

/** `, place 2 in gpu, behind job1`, as far as it is known. */
function placeText({
  queue,
  position,
  reason,
  waiting_for = [],
}: ExecView['state'] & { status: 'queued' }): string {
  const place =
    queue === undefined ? '' : `, ${position === undefined ? '' : `place ${position} `}in ${queue}`;
  const ids = waiting_for.slice(0, 3).join(', ') + (waiting_for.length > 3 ? ' …' : '');
  switch (reason) {
    case 'dependency':
      return `${place}, after ${ids}`;
    case 'queue_full':
      return ids === '' ? place : `${place}, behind ${ids}`;
    case 'queue_paused':
      return `${place}, which is paused`;
    case 'starting':
      return `${place}, starting`;
    default:
      return place;
  }
}

/** An answer for a person: the line, then the tails or the last line. */
export function answerText(view: ExecView, answer: Answer): string {
  const lines = [oneLineOf(view)];
  if (answer.machine_connected === false)
    lines.push(oneLine(`${view.machine} is away; this is as of ${answer.as_of ?? 'its last report'}`));
  if (answer.settling) lines.push('its job is over; what it leaves is being kept');
  if (answer.artifacts !== undefined) lines.push(oneLine(artifactsText(answer.exec_id, answer.artifacts)));
  if (answer.last_line !== undefined) lines.push(oneLine(`last line: ${answer.last_line}`));
  for (const [name, tail, from] of [
    ['stdout', answer.stdout_tail, answer.stdout_tail_from],
    ['stderr', answer.stderr_tail, answer.stderr_tail_from],
  ] as const) {
    if (tail !== undefined && tail !== '')
      lines.push(`--- ${name}${from ? ` from byte ${from}` : ''} ---`, tail.replace(/\n$/, ''));
  }
  if (answer.next_command !== undefined) lines.push(oneLine(`next: ${answer.next_command}`));
  return lines.join('\n');
}

function artifactsText(id: string, { count, bytes, skipped_count = 0, error }: ArtifactsState): string {
  const left = skipped_count > 0 ? `, ${skipped_count} left out` : '';
  const why = error === undefined ? '' : ` (${error})`;
  const how = count > 0 ? `; codex-remote exec artifacts --id ${id} --dst DIR` : '';
  return `artifacts: ${count}, ${bytes} bytes${left}${why}${how}`;
}

/** Columns as wide as their widest cell; a cell is one line. */
export function table(header: readonly string[], cells: readonly (readonly string[])[]): string {
  const rows = cells.map((row) => row.map(oneLine));
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  return [header, ...rows]
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
