import { writeSync } from 'node:fs';

const oldestNode = 24;

/** Whether this Node is too old for the program; says so then, in JSON and for people. */
export function refusesNode(): boolean {
  if (Number.parseInt(process.versions.node, 10) >= oldestNode) return false;
  const message = `codex-remote needs Node.js ${oldestNode} or later, this is ${process.versions.node} (${process.execPath})`;
  const error = {
    code: 'runtime_unsupported',
    message,
    hint: 'install a newer Node.js, or install codex-remote with its optional dependencies',
    retryable: false,
    sent: 'no',
  };
  writeNow(1, `${JSON.stringify({ ok: false, error, next_action: 'fix-config' })}\n`);
  writeNow(2, `codex-remote: ${message}\n`);
  process.exitCode = 1;
  return true;
}

function writeNow(fd: 1 | 2, text: string): void {
  try {
    writeSync(fd, text);
  } catch {
    // Closed, or its reader has gone: there is nowhere to say so.
  }
}
