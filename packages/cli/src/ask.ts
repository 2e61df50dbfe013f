import type { Output } from './output.ts';

/**
 * Puts a question at the terminal and reads one line; a secret is not shown. Undefined: Ctrl-C, Ctrl-D, or nobody sits
 * there. `text` may come from a server: nothing in it acts on the terminal.
 */
export async function askAtTerminal(
  output: Output,
  question: { readonly text: string; readonly secret: boolean },
): Promise<string | undefined> {
  if (!output.terminal) return undefined;
  // Loaded here: a short command asks nothing, and pays half a millisecond for it.
  const { createInterface } = process.getBuiltinModule('node:readline');
  const { Writable } = process.getBuiltinModule('node:stream');
  const shown = question.secret
    ? new Writable({ write: (_bytes, _encoding, done) => done() })
    : process.stderr;
  const lines = createInterface({ input: process.stdin, output: shown, terminal: true, historySize: 0 });
  try {
    // Only now: from here on the terminal shows nothing by itself.
    await output.text(question.text, 'stderr');
    return await new Promise<string | undefined>((resolve) => {
      lines.once('line', resolve);
      lines.once('close', () => resolve(undefined));
      lines.once('SIGINT', () => resolve(undefined));
    });
  } finally {
    lines.close();
    if (question.secret) await output.write('\n', 'stderr');
  }
}
